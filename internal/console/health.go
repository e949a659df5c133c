package console

import (
	"cmp"
	"net/http"
	"net/mail"
	"slices"
	"strings"

	"holdfast/internal/backup"
)

type healthPage struct {
	Service serviceAnswer
	Needs   []need
}

// On reports whether the service is enabled.
func (p healthPage) On() bool { return p.Service.ServiceStatus.Status == string(backup.ServiceEnabled) }

// showHealth shows how the service and its vault stand.
func showHealth(v *visit) error {
	service, err := get[serviceAnswer](v.ctx(), v.api, serviceRoot)
	if err != nil {
		return err
	}
	page := healthPage{Service: service, Needs: serviceNeeds(service)}
	for i := range page.Needs {
		page.Needs[i].Link = "" // to this page
	}
	return v.show("health", "Health", page)
}

type settingsPage struct {
	Email      emailAnswer
	Recipients string // a line each
	Wrong      string
}

func showSettings(v *visit) error {
	page, err := v.settings()
	if err != nil {
		return err
	}
	return v.show("settings", "Settings", page)
}

func (v *visit) settings() (page settingsPage, err error) {
	if page.Email, err = get[emailAnswer](v.ctx(), v.api, emailPath); err != nil {
		return page, err
	}
	for _, r := range page.Email.Recipients.CustomRecipients {
		page.Recipients += r.Email + "\n"
	}
	return page, nil
}

// changeSettings writes to whom mail goes. What the setting says besides stays.
func changeSettings(v *visit) error {
	page, err := v.settings()
	if err != nil {
		return err
	}
	names := map[string]map[string]string{} // what else is known of the recipients stays
	for _, r := range page.Email.Recipients.CustomRecipients {
		names[r.Email] = map[string]string{"id": r.ID, "displayName": r.DisplayName}
	}
	form := v.r.PostForm
	page.Recipients = form.Get("recipients")
	page.Email.IsEnabled = form.Get("enabled") != ""
	custom := []any{}
	for address := range strings.FieldsFuncSeq(page.Recipients, func(r rune) bool { return strings.ContainsRune(" ,;\r\n\t", r) }) {
		if _, err := mail.ParseAddress(address); err != nil {
			page.Wrong = quote(address) + " is no e-mail address."
		}
		one := map[string]any{"email": address}
		for name, value := range names[address] {
			if value != "" {
				one[name] = value
			}
		}
		custom = append(custom, one)
	}
	roles := slices.DeleteFunc(strings.Split(page.Email.Recipients.Role, ","), func(role string) bool {
		return slices.Contains([]string{"", "none", "custom"}, role)
	})
	if len(custom) > 0 {
		roles = append(roles, "custom")
	}
	if page.Wrong != "" {
		return v.show("settings", "Settings", page)
	}
	err = v.api.Patch(v.ctx(), emailPath, map[string]any{
		"isEnabled":  page.Email.IsEnabled,
		"recipients": map[string]any{"role": cmp.Or(strings.Join(roles, ","), "none"), "customRecipients": custom},
	}, nil)
	if err != nil {
		p := explain(err)
		if p.status != http.StatusBadRequest {
			return err
		}
		page.Wrong = p.text
		return v.show("settings", "Settings", page)
	}
	v.say("good", "The settings are changed.")
	return v.redirect("/console/settings")
}
