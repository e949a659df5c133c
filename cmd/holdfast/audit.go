package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/jobs"
	"holdfast/internal/odata"
)

// newAudit is the command for the audit log. It reads the database itself, so
// that the log can be had when no server runs.
func newAudit() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Read the log of who did what",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var at catalogAt
	var tenant, since, filter, unit string
	export := &cobra.Command{
		Use:   "export",
		Short: "Print the audit log as JSON lines, oldest first",
		Long: `Export prints the audit log, a JSON object on each line, the oldest first. It
reads the database itself and may run beside a server.

With --filter it prints what meets a $filter of the API's, as the console's audit page
does: by performedBy, @holdfast.performedById, @holdfast.operation, @holdfast.objectId,
@holdfast.protectionUnitId, resultStatus and eventDateTime. With --unit it prints what is
of the backups of one unit, but for what concerned more than 1,000 at once. Of several
tenants one comes after the other then.

With --database, a password for PostgreSQL is taken from where its own clients
look for it, such as the environment variable PGPASSWORD.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			from, err := checkExport(&at, &tenant, since)
			if err != nil {
				return err
			}
			var meets odata.Expr
			if filter != "" {
				if meets, err = odata.ParseFilter(filter, catalog.ActivityProperties); err != nil {
					return usageError{fmt.Errorf("--filter: %w", err)}
				}
			}
			db, err := at.open(cmd.Context())
			if err != nil {
				return err
			}
			defer db.Close()
			c := catalog.New(db, jobs.New(db, time.Now), catalog.Config{Clock: time.Now})
			out := bufio.NewWriter(cmd.OutOrStdout())
			lines := json.NewEncoder(out)
			lines.SetEscapeHTML(false)
			if unit != "" {
				only, err := entriesOf(cmd.Context(), c, backup.TenantID(tenant), unit)
				if err != nil {
					return err
				}
				if meets != nil {
					meets = odata.And{only, meets}
				} else {
					meets = only
				}
			}
			n := 0
			print := func(a backup.Activity) error { n++; return lines.Encode(a) }
			if meets == nil {
				err = c.ExportActivities(cmd.Context(), backup.TenantID(tenant), from, print)
			} else {
				err = exportSome(cmd.Context(), c, backup.TenantID(tenant), from, meets, print)
			}
			if err = errors.Join(err, out.Flush()); err != nil || n > 0 || tenant == "" {
				return err
			}
			known, err := c.Tenants(cmd.Context())
			if err == nil && !slices.Contains(known, backup.TenantID(tenant)) {
				err = fail(exitNotFound, "there is no tenant %s in the database", tenant)
			}
			return err
		},
	}
	f := export.Flags()
	at.flags(f)
	f.StringVar(&tenant, "tenant", "", "only this tenant's, by its id (default all)")
	f.StringVar(&since, "since", "", "only from this `TIME` on, such as 2026-01-31 or 2026-01-31T12:00:00Z (default all)")
	f.StringVar(&filter, "filter", "", "only what meets this `FILTER`, such as \"performedBy eq 'mira@contoso.com'\" (default all)")
	f.StringVar(&unit, "unit", "", "only what is of the backups of this `UNIT`: its id, or its owner's or site's id, address or name")
	cmd.AddCommand(export)
	return cmd
}

// entriesOf is a filter that only entries of a unit meet: one of an id, or the only one that
// a tenant, or any for "", has of an owner or a site.
func entriesOf(ctx context.Context, c *catalog.Catalog, tenant backup.TenantID, unit string) (odata.Expr, error) {
	only := func(id string) (odata.Expr, error) {
		return odata.ParseFilter("@holdfast.protectionUnitId eq '"+id+"'", catalog.ActivityProperties)
	}
	text := "'" + strings.ReplaceAll(unit, "'", "''") + "'"
	by := "email eq " + text + " or displayName eq " + text
	id, isID := backup.ParseGUID(unit)
	if isID {
		by = "directoryObjectId eq " + text
	} else if site, ok := backup.SharePoint.ParseSubject(unit); ok {
		by = "siteId eq '" + string(site) + "'"
	}
	meets, err := odata.ParseFilter(by, catalog.UnitProperties)
	if err != nil {
		return nil, usageError{fmt.Errorf("--unit: %w", err)}
	}
	tenants := []backup.TenantID{tenant}
	if tenant == "" {
		if tenants, err = c.TenantsInLog(ctx); err != nil {
			return nil, err
		}
	}
	var units []backup.Unit
	for _, t := range tenants {
		l, err := c.Units(ctx, t, catalog.UnitQuery{Page: catalog.Page{Filter: meets}})
		if err != nil {
			return nil, err
		}
		units = append(units, l.Items...)
	}
	switch {
	case len(units) == 1:
		return only(string(units[0].ID))
	case len(units) == 0 && isID: // of a unit, of which there may be no more than the log
		return only(id)
	case len(units) == 0:
		return nil, fail(exitNotFound, "no unit is of %s; give the unit's id, which the log has in units", unit)
	}
	all := make([]string, len(units))
	for i, u := range units {
		all[i] = fmt.Sprintf("%s (%s of tenant %s)", u.ID, u.Workload, u.Tenant)
	}
	return nil, fail(exitFailed, "%d units are of %s; give the id of one: %s", len(units), unit, strings.Join(all, ", "))
}

// exportSome gives to print what of the log, from a time on, meets a filter, which an index
// answers: of one tenant, or of one after the other for "".
func exportSome(ctx context.Context, c *catalog.Catalog, tenant backup.TenantID, from time.Time, meets odata.Expr, print func(backup.Activity) error) error {
	tenants := []backup.TenantID{tenant}
	if tenant == "" {
		var err error
		if tenants, err = c.TenantsInLog(ctx); err != nil {
			return err
		}
	}
	at := odata.Property{Name: "eventDateTime", Type: odata.Time}
	if !from.IsZero() {
		meets = odata.And{meets, odata.Compare{Property: at, Op: "ge", Value: odata.Value{Time: from}}}
	}
	for _, t := range tenants {
		page := catalog.Page{Limit: 1000, Filter: meets, Order: []odata.Order{{Property: at}}}
		for {
			l, err := c.Activities(ctx, t, page)
			if err != nil {
				return err
			}
			for _, a := range l.Items {
				if err := print(a); err != nil {
					return err
				}
			}
			if page.After = l.Next; l.Next == "" {
				break
			}
		}
	}
	return nil
}

// checkExport says all that is wrong with the flags of export, and returns the
// time to begin from.
func checkExport(at *catalogAt, tenant *string, since string) (from time.Time, err error) {
	wrong := []error{at.check()}
	if *tenant != "" {
		id, ok := backup.ParseGUID(*tenant)
		if !ok {
			wrong = append(wrong, fmt.Errorf("--tenant: %q is not a tenant id", *tenant))
		}
		*tenant = id
	}
	if since != "" {
		var err error
		if from, err = parseTime(since, false); err != nil {
			wrong = append(wrong, fmt.Errorf("--since: %w", err))
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return from, usageError{err}
	}
	return from, nil
}
