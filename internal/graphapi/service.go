package graphapi

import (
	"net/http"
	"net/mail"
	"slices"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/odata"
)

type serviceAppID = backup.ServiceAppID

// serviceAllows refuses a change that the tenant's service does not allow now.
// It is the one place that asks.
func (s *Server) serviceAllows(x *exchange) error {
	area := x.route.area()
	if area == backup.AreaNone {
		return nil
	}
	service, err := s.catalog.Service(x.ctx(), x.tenant())
	if err != nil {
		return err
	}
	return service.Allows(area, x.caller.AppID)
}

// statusView shows a serviceStatus. A server of one's own has no billing that
// could end it.
func statusView(v backup.Service) odata.Entity {
	e := odata.Entity{Type: "serviceStatus"}
	e.Add("status", v.Status)
	e.Add("disableReason", v.DisableReason)
	e.Add("backupServiceConsumer", "thirdparty")
	addTime(&e, "gracePeriodDateTime", v.RestoreEnds())
	addTime(&e, "restoreAllowedTillDateTime", v.RestoreEnds())
	if !v.Modified.At.IsZero() {
		e.Add("lastModifiedBy", identities(v.Modified.By))
		e.Add("lastModifiedDateTime", odata.FormatTime(v.Modified.At))
	}
	return e
}

// getService serves backupRestoreRoot.
func (s *Server) getService(x *exchange) (reply, error) {
	v, err := s.catalog.Service(x.ctx(), x.tenant())
	if err != nil {
		return reply{}, err
	}
	status := map[string]any{}
	for _, m := range statusView(v).Members {
		status[m.Name] = m.Value
	}
	e := odata.Entity{Type: "backupRestoreRoot", Path: root}
	e.Add("serviceStatus", status)
	h, err := s.catalog.Health(x.ctx(), x.tenant())
	if err != nil {
		return reply{}, err
	}
	if s.cfg.Vault != nil {
		addText(&e, "@holdfast.vaultProblem", s.cfg.Vault(x.ctx(), x.tenant()))
	}
	if s.cfg.Source != nil {
		wrong, _ := s.cfg.Source(x.ctx(), x.tenant())
		addText(&e, "@holdfast.sourceProblem", strings.Join(wrong, " "))
	}
	if s.cfg.Configuration != nil {
		addText(&e, "@holdfast.configurationProblem", s.cfg.Configuration())
	}
	if s.cfg.Versions != nil {
		of, err := s.cfg.Versions(x.ctx())
		if err != nil {
			return reply{}, err
		}
		addVersions(&e, of)
	}
	if h.Damage > 0 {
		e.Add("@holdfast.openDamageCount", h.Damage)
	}
	if !h.Verified.IsZero() {
		e.Add("@holdfast.verifiedDateTime", odata.FormatTime(h.Verified))
	}
	if h.Retention != "" {
		e.Add("@holdfast.retentionDisagreement", h.Retention)
	}
	f := x.form()
	body, err := f.Entity(f.Context(root, true), e)
	return reply{status: http.StatusOK, body: body, content: x.here()}, err
}

// A Version is one of Holdfast's, of which there are processes.
type Version struct {
	Name      string
	Processes int
}

// addVersions tells of processes where there are several, so that one can watch them being
// replaced.
func addVersions(e *odata.Entity, of []Version) {
	var list []any
	all := 0
	for _, v := range of {
		list = append(list, map[string]any{"version": v.Name, "processCount": v.Processes})
		all += v.Processes
	}
	if all > 1 {
		e.Add("@holdfast.versions", list)
	}
}

// enableService serves backupRestoreRoot: enable. There is no billing to ask.
func (s *Server) enableService(x *exchange) (reply, error) {
	if err := x.body.Only("", "appOwnerTenantId"); err != nil {
		return reply{}, err
	}
	owner, _, err := x.body.String("appOwnerTenantId")
	if _, ok := backup.ParseGUID(owner); err != nil || !ok {
		return reply{}, backup.Fail(backup.InvalidAppOwnerTenantID, "The tenant that owns the application is missing or no GUID. Give the id of its directory.").On("appOwnerTenantId")
	}
	v, err := s.catalog.EnableService(x.ctx(), x.tenant(), s.stamp(x))
	if err != nil {
		return reply{}, err
	}
	f := x.form()
	body, err := f.Entity(f.Context("microsoft.graph.serviceStatus", false), statusView(v))
	return reply{status: http.StatusOK, body: body}, err
}

func serviceAppView(a backup.ServiceApp) odata.Entity {
	e := odata.Entity{Type: serviceApp, Path: root + "/" + serviceAppSet + "('" + string(a.ID) + "')"}
	e.Add("id", a.ID)
	e.Add("application", a.Application)
	e.Add("status", a.Status)
	e.Add("registrationDateTime", odata.FormatTime(a.Registered))
	addTime(&e, "effectiveDateTime", a.Effective)
	e.Add("lastModifiedBy", identities(a.Modified.By))
	e.Add("lastModifiedDateTime", odata.FormatTime(a.Modified.At))
	return e
}

func (s *Server) serviceApps(x *exchange) func(catalog.Page) (catalog.List[backup.ServiceApp], error) {
	return func(p catalog.Page) (catalog.List[backup.ServiceApp], error) {
		return s.catalog.ServiceApps(x.ctx(), x.tenant(), p)
	}
}

func (s *Server) listServiceApps(x *exchange) (reply, error) {
	return list(s, x, listing[backup.ServiceApp]{
		set: serviceAppSet, fetch: s.serviceApps(x),
		view: func(a backup.ServiceApp) (odata.Entity, error) { return serviceAppView(a), nil },
	})
}

func (s *Server) countServiceApps(x *exchange) (reply, error) { return count(x, s.serviceApps(x)) }

// createServiceApp registers the application that calls.
func (s *Server) createServiceApp(x *exchange) (reply, error) {
	if x.body != nil {
		if err := x.body.Only(serviceApp, append(readOnly, "application", "registrationDateTime", "effectiveDateTime")...); err != nil {
			return reply{}, err
		}
	}
	by := s.stamp(x)
	a, err := s.catalog.RegisterServiceApp(x.ctx(), x.tenant(), by.By.Application, by)
	if err != nil {
		return reply{}, err
	}
	return created(x, serviceAppSet, serviceAppSet+"/"+string(a.ID), serviceAppView(a))
}

func (s *Server) getServiceApp(x *exchange) (reply, error) {
	a, err := s.catalog.ServiceApp(x.ctx(), x.tenant(), guid[serviceAppID](x, "id"))
	if err != nil {
		return reply{}, err
	}
	return show(x, http.StatusOK, serviceAppSet, serviceAppView(a))
}

func (s *Server) deleteServiceApp(x *exchange) (reply, error) {
	if _, err := s.catalog.ChangeServiceApp(x.ctx(), x.tenant(), guid[serviceAppID](x, "id"), backup.DeleteApp, time.Time{}, s.stamp(x)); err != nil {
		return reply{}, err
	}
	return s.deleted(x)
}

func (s *Server) activateServiceApp(x *exchange) (reply, error) {
	if err := x.body.Only("", "effectiveDateTime"); err != nil {
		return reply{}, err
	}
	effective, err := x.body.Time("effectiveDateTime")
	if err != nil {
		return reply{}, err
	}
	if effective.IsZero() {
		return reply{}, backup.Fail(backup.InvalidRequest, "The time at which the application takes over is missing. Give effectiveDateTime.").On("effectiveDateTime")
	}
	return s.changedServiceApp(x, backup.ActivateApp, effective)
}

func (s *Server) deactivateServiceApp(x *exchange) (reply, error) {
	return s.changedServiceApp(x, backup.DeactivateApp, time.Time{})
}

func (s *Server) changedServiceApp(x *exchange, op backup.ServiceAppOperation, effective time.Time) (reply, error) {
	a, err := s.catalog.ChangeServiceApp(x.ctx(), x.tenant(), guid[serviceAppID](x, "id"), op, effective, s.stamp(x))
	if err != nil {
		return reply{}, err
	}
	r, err := show(x, http.StatusAccepted, serviceAppSet, serviceAppView(a))
	r.content = root + "/" + serviceAppSet + "('" + string(a.ID) + "')"
	return r, err
}

// emailReply answers with an emailNotificationsSetting.
func emailReply(x *exchange, v backup.EmailSetting) (reply, error) {
	e := odata.Entity{Type: emailSetting, Path: root + "/" + emailSetting}
	e.Add("isEnabled", v.Enabled)
	e.Add("additionalEvents", v.Events)
	custom := v.Recipients
	if custom == nil {
		custom = []backup.Identity{}
	}
	e.Add("recipients", map[string]any{"role": v.Role, "customRecipients": custom})
	return show(x, http.StatusOK, emailSetting, e)
}

func (s *Server) getEmailSetting(x *exchange) (reply, error) {
	v, err := s.catalog.EmailSetting(x.ctx(), x.tenant())
	if err != nil {
		return reply{}, err
	}
	return emailReply(x, v)
}

// updateEmailSetting changes what the body names; recipients are replaced as a
// whole.
func (s *Server) updateEmailSetting(x *exchange) (reply, error) {
	b := x.body
	if err := b.Only(emailSetting, "isEnabled", "additionalEvents", "recipients"); err != nil {
		return reply{}, err
	}
	if b.Len() == 0 {
		return reply{}, backup.Fail(backup.InvalidRequest, "The body changes nothing. Give isEnabled, additionalEvents or recipients.")
	}
	enabled, setEnabled, err := b.Bool("isEnabled")
	if err != nil {
		return reply{}, err
	}
	events, err := flags(b, "additionalEvents", "none", "restoreAndPolicyUpdates")
	if err != nil {
		return reply{}, err
	}
	var role string
	var custom []backup.Identity
	if b.Has("recipients") {
		if role, custom, err = recipients(b); err != nil {
			return reply{}, err
		}
	}
	v, err := s.catalog.ChangeEmailSetting(x.ctx(), x.tenant(), func(v *backup.EmailSetting) {
		if setEnabled {
			v.Enabled = enabled
		}
		if events != "" {
			v.Events = events
		}
		if role != "" {
			v.Role, v.Recipients = role, custom
		}
	})
	if err != nil {
		return reply{}, err
	}
	return emailReply(x, v)
}

// maxRecipients is how many addresses of its own a tenant may name.
const maxRecipients = 100

func recipients(b *odata.Object) (role string, custom []backup.Identity, err error) {
	wrong := func(message, target string) error {
		return backup.Fail(backup.InvalidRequest, message).On("recipients/" + target)
	}
	o, ok, err := b.Object("recipients")
	if err != nil {
		return "", nil, err
	}
	if !ok {
		return "", nil, backup.Fail(backup.InvalidRequest, "recipients cannot be null.").On("recipients")
	}
	if err := o.Only("notificationRecipients", "role", "customRecipients"); err != nil {
		return "", nil, err
	}
	if role, err = flags(o, "role", "none", "globalAdmins", "backupAdmins", "custom", "allAdmins"); err != nil {
		return "", nil, err
	}
	if role == "" {
		return "", nil, wrong("The recipients' role is missing.", "role")
	}
	list, _, err := o.Objects("customRecipients")
	if err != nil {
		return "", nil, err
	}
	if len(list) > maxRecipients {
		return "", nil, wrong("The list names more than 100 recipients.", "customRecipients")
	}
	for _, r := range list {
		if err := r.Only("emailIdentity", "id", "displayName", "email"); err != nil {
			return "", nil, err
		}
		var i backup.Identity
		for name, to := range map[string]*string{"id": &i.ID, "displayName": &i.DisplayName, "email": &i.Email} {
			if *to, _, err = r.String(name); err != nil {
				return "", nil, err
			}
		}
		if a, err := mail.ParseAddress(i.Email); err != nil || a.Address != i.Email || len(i.Email) > 320 {
			return "", nil, wrong("A recipient has no valid e-mail address.", "customRecipients")
		}
		custom = append(custom, i)
	}
	if slices.Contains(strings.Split(role, ","), "custom") != (len(custom) > 0) {
		return "", nil, wrong("The role custom and the list of custom recipients go together: give both, or neither.", "customRecipients")
	}
	return role, custom, nil
}

// flags returns a member that is a set of flags, without blanks; "" if it is
// absent. none stands alone.
func flags(o *odata.Object, name string, known ...string) (string, error) {
	if !o.Has(name) {
		return "", nil
	}
	text, _, err := o.String(name)
	if err != nil {
		return "", err
	}
	var set []string
	for f := range strings.SplitSeq(text, ",") {
		f = strings.TrimSpace(f)
		if !slices.Contains(known, f) || slices.Contains(set, f) {
			return "", backup.Fail(backup.InvalidRequest, "The value is none of these, or a list of them: "+strings.Join(known, ", ")+".").On(name)
		}
		set = append(set, f)
	}
	if len(set) > 1 && slices.Contains(set, "none") {
		return "", backup.Fail(backup.InvalidRequest, "The value none stands alone.").On(name)
	}
	return strings.Join(set, ","), nil
}
