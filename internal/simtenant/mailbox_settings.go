package simtenant

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"
)

// The settings that a user has changed are a file of the mailbox's folder, which is no
// item.
const settingsJSON = ".settings.json"

func settingsRoutes() []Route {
	return []Route{
		{"GET", "{user}/mailboxSettings", "A mailbox's settings: those that were changed are the file .settings.json.", "", "select", readMailSettings, onUserMail((*Service).getSettings)},
		{"GET", "{user}/mailboxSettings/{setting}", "One of them.", "", "", readMailSettings, onUserMail((*Service).getSettings)},
		{"PATCH", "{user}/mailboxSettings", "Changes what it names.", "No automatic reply is sent, and nothing else comes of a setting.", "", writeSettings, onUserContent((*Service).patchSettings)},
	}
}

func (m *mailbox) settingsPath() string { return path.Join(m.d.place.folder(), settingsJSON) }

// settings are a mailbox's: what was changed, over what is so at first.
func (m *mailbox) settings() (changed, all object, err error) {
	data, err := m.d.svc.mailRoot.ReadFile(m.settingsPath())
	changed = object{}
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, nil, onDisk(err)
	case json.Unmarshal(data, &changed) != nil || changed == nil:
		return nil, nil, corruptItem()
	}
	never := object{"dateTime": "0001-01-01T00:00:00.0000000", "timeZone": "UTC"}
	all = object{
		"timeZone": "UTC", "dateFormat": "M/d/yyyy", "timeFormat": "h:mm tt", "delegateMeetingMessageDeliveryOptions": "sendToDelegateOnly", "userPurpose": "user", "archiveFolder": nil,
		"language": object{"locale": "en-US", "displayName": "English (United States)"},
		"automaticRepliesSetting": object{"status": "disabled", "externalAudience": "all", "internalReplyMessage": "", "externalReplyMessage": "",
			"scheduledStartDateTime": never, "scheduledEndDateTime": never},
		"workingHours": object{"daysOfWeek": []string{"monday", "tuesday", "wednesday", "thursday", "friday"}, "startTime": "08:00:00.0000000", "endTime": "17:00:00.0000000",
			"timeZone": object{"name": "UTC"}},
	}
	if f := m.well["archive"]; f != nil {
		all["archiveFolder"] = m.folderID(f)
	}
	lay(all, changed)
	return changed, all, nil
}

// lay puts members over those of another object, and objects in it over objects.
func lay(under, over object) {
	for name, v := range over {
		below, ok := under[name].(object)
		if more, both := v.(object); ok && both {
			below = maps.Clone(below)
			lay(below, more)
			v = below
		}
		under[name] = v
	}
}

func (s *Service) getSettings(r *request, m *mailbox) error {
	_, all, err := m.settings()
	if err != nil {
		return err
	}
	context := r.base + "/$metadata#" + r.outlookContext("mailboxSettings")
	if want := r.vars["setting"]; want != "" {
		for name, v := range all {
			if !strings.EqualFold(name, want) {
				continue
			}
			one, ok := v.(object)
			if !ok {
				one = object{"value": v}
			}
			one["@odata.context"] = context + "/" + name
			r.status, r.answer = http.StatusOK, one
			return nil
		}
		return noRoute()
	}
	all["@odata.context"] = context
	r.status, r.answer = http.StatusOK, project(all, selected(r.query))
	return nil
}

// settingsBody is what is checked of settings that a client sends.
type settingsBody struct {
	TimeZone *string `json:"timeZone"`
	Language *struct {
		Locale string `json:"locale"`
	} `json:"language"`
	Delegates *string `json:"delegateMeetingMessageDeliveryOptions"`
	Replies   *struct {
		Status   *string   `json:"status"`
		Audience *string   `json:"externalAudience"`
		From     *dateTime `json:"scheduledStartDateTime"`
		To       *dateTime `json:"scheduledEndDateTime"`
	} `json:"automaticRepliesSetting"`
	Hours *struct {
		Days []string `json:"daysOfWeek"`
		Zone *struct {
			Name string `json:"name"`
		} `json:"timeZone"`
	} `json:"workingHours"`
}

func (s *Service) patchSettings(r *request, m *mailbox) error {
	var in settingsBody
	known := []string{"timeZone", "dateFormat", "timeFormat", "delegateMeetingMessageDeliveryOptions", "language", "automaticRepliesSetting", "workingHours"}
	names, err := decodeContent(r.content, "mailboxSettings", known, []string{"archiveFolder", "userPurpose"}, &in)
	if err != nil {
		return err
	}
	wrong := func(why string) error { return fail(http.StatusBadRequest, "ErrorInvalidArgument", why) }
	oneOf := func(name string, have *string, list ...string) error {
		if have != nil && !slices.Contains(list, *have) {
			return wrong(name + " is one of " + strings.Join(list, ", ") + ".")
		}
		return nil
	}
	zoned := func(have *string) error {
		if have != nil {
			if _, ok := zone(*have); !ok || *have == "" {
				return wrong("The time zone " + quoted(*have) + " is not known.")
			}
		}
		return nil
	}
	err = errors.Join(zoned(in.TimeZone), oneOf("delegateMeetingMessageDeliveryOptions", in.Delegates, "sendToDelegateAndInformationToPrincipal", "sendToDelegateAndPrincipal", "sendToDelegateOnly"))
	if in.Language != nil && in.Language.Locale == "" {
		err = errors.Join(err, wrong("language needs a locale."))
	}
	if a := in.Replies; a != nil {
		err = errors.Join(err, oneOf("status", a.Status, "disabled", "alwaysEnabled", "scheduled"), oneOf("externalAudience", a.Audience, "none", "contactsOnly", "all"))
		for _, at := range []*dateTime{a.From, a.To} {
			if at != nil {
				_, wrong := at.read()
				err = errors.Join(err, wrong)
			}
		}
	}
	if h := in.Hours; h != nil {
		for _, day := range h.Days {
			if !slices.ContainsFunc([]time.Weekday{0, 1, 2, 3, 4, 5, 6}, func(d time.Weekday) bool { return strings.EqualFold(d.String(), day) }) {
				err = errors.Join(err, wrong(quoted(day)+" is no day of the week."))
			}
		}
		if h.Zone != nil {
			err = errors.Join(err, zoned(&h.Zone.Name))
		}
	}
	if err != nil {
		return err
	}
	var given object
	if len(names) > 0 {
		json.Unmarshal(r.content, &given) // decodeContent has done it before
	}
	maps.DeleteFunc(given, func(name string, _ any) bool { return !names[name] })
	changed, _, err := m.settings()
	if err != nil {
		return err
	}
	lay(changed, given)
	data, err := json.MarshalIndent(changed, "", "  ")
	if err != nil {
		return err
	}
	if err := m.writeBeside(m.settingsPath(), data); err != nil {
		return err
	}
	return s.getSettings(r, m)
}
