package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
)

const serviceAppColumns = `a.id, a.application, a.name, a.status, a.effective, a.removal, a.created, a.modified, a.modified_by`

var serviceAppFields = fields{
	filterID("id", "a.id", ""),
	filterEnum("status", "a.status", "inactive", "active", "pendingActive", "pendingInactive"),
	filterTime("registrationDateTime", "a.created", true),
}

// ServiceAppProperties are what service apps may be filtered and ordered by.
var ServiceAppProperties = serviceAppFields.properties()

func scanServiceApp(r scanner) (a backup.ServiceApp, err error) {
	return a, r.Scan(&a.ID, &a.Application.ID, &a.Application.DisplayName, &a.Status, micros{&a.Effective}, micros{&a.Removal},
		micros{&a.Registered}, micros{&a.Modified.At}, fromJSON{&a.Modified.By})
}

// Service returns the state of a tenant's service, with the applications that
// registered, oldest first, as of now.
func (c *Catalog) Service(ctx context.Context, tenant backup.TenantID) (backup.Service, error) {
	return c.readService(ctx, c.db.Read(), tenant)
}

func (c *Catalog) readService(ctx context.Context, db database.Queryer, tenant backup.TenantID) (backup.Service, error) {
	s := backup.Service{Status: c.cfg.ServiceStatus, DisableReason: backup.DisabledForNoReason}
	if s.Status != backup.ServiceEnabled {
		s.DisableReason = backup.DisabledByUser
	}
	var touched bool // most tenants never do, and each of their writes asks
	err := db.QueryRowContext(ctx, `
		SELECT EXISTS (SELECT 1 FROM service WHERE tenant = $1) OR EXISTS (SELECT 1 FROM service_app WHERE tenant = $1)`,
		string(tenant)).Scan(&touched)
	if err != nil {
		return s, fmt.Errorf("look for the service: %w", err)
	}
	if !touched {
		return s, nil
	}
	err = db.QueryRowContext(ctx, `SELECT status, disable_reason, modified, modified_by FROM service WHERE tenant = $1`, string(tenant)).
		Scan(&s.Status, &s.DisableReason, micros{&s.Modified.At}, fromJSON{&s.Modified.By})
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return s, fmt.Errorf("read service: %w", err)
	}
	rows, err := db.QueryContext(ctx, `SELECT `+serviceAppColumns+` FROM service_app a WHERE a.tenant = $1 ORDER BY a.created, a.id`, string(tenant))
	s.Apps, err = collect(rows, err, scanServiceApp)
	if err != nil {
		return s, fmt.Errorf("read service apps: %w", err)
	}
	s.Settle(c.now())
	return s, nil
}

// changeService has fn change a tenant's service and stores it.
func (c *Catalog) changeService(ctx context.Context, tenant backup.TenantID, what string, fn func(*backup.Service) error) (backup.Service, error) {
	var s backup.Service
	err := c.tx(ctx, tenant, func(tx *database.Tx) (err error) {
		if s, err = c.readService(ctx, tx, tenant); err != nil {
			return err
		}
		if err := fn(&s); err != nil {
			return err
		}
		if !s.Modified.At.IsZero() {
			_, err := tx.ExecContext(ctx, `
				INSERT INTO service (tenant, status, disable_reason, modified, modified_by) VALUES ($1, $2, $3, $4, $5)
				ON CONFLICT (tenant) DO UPDATE SET status = excluded.status, disable_reason = excluded.disable_reason,
					modified = excluded.modified, modified_by = excluded.modified_by`,
				string(tenant), string(s.Status), s.DisableReason, database.Micros(s.Modified.At), toJSON(s.Modified.By))
			if err != nil {
				return fmt.Errorf("write service: %w", err)
			}
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM service_app WHERE tenant = $1`, string(tenant)); err != nil {
			return fmt.Errorf("clear service apps: %w", err)
		}
		for _, a := range s.Apps {
			_, err := tx.ExecContext(ctx, `
				INSERT INTO service_app (id, tenant, application, name, status, effective, removal, created, modified, modified_by)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
				string(a.ID), string(tenant), a.Application.ID, a.Application.DisplayName, string(a.Status), database.Micros(a.Effective),
				database.Micros(a.Removal), database.Micros(a.Registered), database.Micros(a.Modified.At), toJSON(a.Modified.By))
			if err != nil {
				return fmt.Errorf("write service app: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		return backup.Service{}, fmt.Errorf("%s: %w", what, err)
	}
	return s, nil
}

// EnableService enables a tenant's service. It may be repeated.
func (c *Catalog) EnableService(ctx context.Context, tenant backup.TenantID, by backup.Stamp) (backup.Service, error) {
	by = asStored(by)
	return c.changeService(ctx, tenant, "enable service", func(s *backup.Service) error {
		s.Enable(by)
		return nil
	})
}

// RegisterServiceApp registers an application, or returns the registration
// that it has.
func (c *Catalog) RegisterServiceApp(ctx context.Context, tenant backup.TenantID, app backup.Identity, by backup.Stamp) (backup.ServiceApp, error) {
	by = asStored(by)
	var a backup.ServiceApp
	_, err := c.changeService(ctx, tenant, "register service app", func(s *backup.Service) error {
		a = s.Register(app, by)
		audited(ctx, a.ID)
		return nil
	})
	return a, err
}

// ServiceApp returns a service app, or ItemNotFound.
func (c *Catalog) ServiceApp(ctx context.Context, tenant backup.TenantID, id backup.ServiceAppID) (backup.ServiceApp, error) {
	s, err := c.Service(ctx, tenant)
	if err != nil {
		return backup.ServiceApp{}, err
	}
	for _, a := range s.Apps {
		if a.ID == id {
			return a, nil
		}
	}
	return backup.ServiceApp{}, backup.Fail(backup.ItemNotFound, "There is no such service app.").On("id")
}

// ServiceApps lists the registered applications.
func (c *Catalog) ServiceApps(ctx context.Context, tenant backup.TenantID, page Page) (List[backup.ServiceApp], error) {
	var due bool // what is stored is not how it stands
	err := c.db.Read().QueryRowContext(ctx, `
		SELECT EXISTS (SELECT 1 FROM service_app WHERE tenant = $1
			AND (status = 'pendingActive' AND effective <= $2 OR removal > 0 AND removal <= $2))`,
		string(tenant), database.Micros(c.now())).Scan(&due)
	if err == nil && due {
		_, err = c.changeService(ctx, tenant, "settle service", func(*backup.Service) error { return nil })
	}
	if err != nil {
		return List[backup.ServiceApp]{}, fmt.Errorf("list service apps: %w", err)
	}
	q := query{columns: serviceAppColumns, table: "service_app a", tenant: tenant, scope: ofTenant, time: "a.created", id: "a.id", fields: serviceAppFields,
		within: []equal{{"a.tenant", string(tenant)}}}
	l, err := list(ctx, c, q, page, scanServiceApp)
	if err != nil {
		return l, fmt.Errorf("list service apps: %w", err)
	}
	return l, nil
}

// ChangeServiceApp activates, deactivates or deletes a service app, and returns
// it as it is then. effective is of an activation only. The failures are those
// of backup.Service.Do.
func (c *Catalog) ChangeServiceApp(ctx context.Context, tenant backup.TenantID, id backup.ServiceAppID, op backup.ServiceAppOperation, effective time.Time, by backup.Stamp) (backup.ServiceApp, error) {
	by, effective = asStored(by), asStored(backup.Stamp{At: effective}).At
	var a backup.ServiceApp
	_, err := c.changeService(ctx, tenant, string(op)+" service app", func(s *backup.Service) error {
		var refusal *backup.Error
		if a, refusal = s.Do(op, id, effective, by); refusal != nil {
			return refusal
		}
		return nil
	})
	return a, err
}

// EmailSetting returns whom a tenant's service writes to.
func (c *Catalog) EmailSetting(ctx context.Context, tenant backup.TenantID) (backup.EmailSetting, error) {
	return readEmailSetting(ctx, c.db.Read(), tenant)
}

func readEmailSetting(ctx context.Context, db database.Queryer, tenant backup.TenantID) (backup.EmailSetting, error) {
	e := backup.DefaultEmailSetting
	err := db.QueryRowContext(ctx, `SELECT enabled, events, role, recipients FROM email_setting WHERE tenant = $1`, string(tenant)).
		Scan(&e.Enabled, &e.Events, &e.Role, fromJSON{&e.Recipients})
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return e, fmt.Errorf("read e-mail setting: %w", err)
	}
	return e, nil
}

// ChangeEmailSetting has change alter whom a tenant's service writes to.
func (c *Catalog) ChangeEmailSetting(ctx context.Context, tenant backup.TenantID, change func(*backup.EmailSetting)) (backup.EmailSetting, error) {
	var e backup.EmailSetting
	err := c.tx(ctx, tenant, func(tx *database.Tx) (err error) {
		if e, err = readEmailSetting(ctx, tx, tenant); err != nil {
			return err
		}
		change(&e)
		_, err = tx.ExecContext(ctx, `
			INSERT INTO email_setting (tenant, enabled, events, role, recipients) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (tenant) DO UPDATE SET enabled = excluded.enabled, events = excluded.events,
				role = excluded.role, recipients = excluded.recipients`,
			string(tenant), bit(e.Enabled), e.Events, e.Role, jsonList(e.Recipients))
		return err
	})
	if err != nil {
		return e, fmt.Errorf("change e-mail setting: %w", err)
	}
	return e, nil
}
