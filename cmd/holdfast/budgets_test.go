package main

import (
	"context"
	"holdfast/internal/backup"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"holdfast/internal/budget"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// What was asked of a tenant's source is shown for all processes together.
func TestMetricsShowEachTenantsBudget(t *testing.T) {
	db, err := database.Open(t.Context(), "sqlite:"+t.TempDir()+"/catalog.db")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	c := catalog.New(db, jobs.New(db, time.Now), catalog.Config{Clock: time.Now})
	b := budget.New(budget.Config{Tenant: "t1", Store: c, Limits: func(context.Context) (budget.Limits, error) { return budget.ForLicences(2000), nil }})
	if _, err := b.Take(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	if err := b.Pause(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := c.UpdateBudget(t.Context(), "t2", func([]byte) ([]byte, error) { return []byte("nonsense"), nil }); err != nil {
		t.Fatal(err)
	}
	if err := c.UpdateBudget(t.Context(), "t3", func([]byte) ([]byte, error) { return []byte("of one that is not served"), nil }); err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(budgets{c, func(t backup.TenantID) bool { return t != "t3" }})
	rec := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`holdfast_source_units{span="minute",tenant="t1"} 3`, `holdfast_source_units{span="day",tenant="t1"} 3`,
		`holdfast_source_units_limit{span="minute",tenant="t1"} 2500`, `holdfast_source_units_limit{span="day",tenant="t1"} 2.4e+06`,
		`holdfast_source_pause_seconds{tenant="t1"} 3`, `holdfast_source_units{span="day",tenant="t2"} 0`,
	} {
		if !strings.Contains(rec.Body.String(), want) {
			t.Errorf("%s is not in %s", want, rec.Body)
		}
	}
	if strings.Contains(rec.Body.String(), `"t3"`) {
		t.Error("there is a figure of a tenant that is not served")
	}
}

// The limits are Microsoft's for as many drives as are protected, unless the
// configuration says otherwise; another Graph has none.
func TestWhoseLimitsATenantHas(t *testing.T) {
	db, err := database.Open(t.Context(), "sqlite:"+t.TempDir()+"/catalog.db")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s := &server{catalog: catalog.New(db, jobs.New(db, time.Now), catalog.Config{Clock: time.Now})}
	for _, tt := range []struct {
		tenant TenantConfig
		want   int
	}{
		{TenantConfig{ID: "t", Graph: defaultGraph}, 1250},
		{TenantConfig{ID: "t", Graph: defaultGraph, Licences: 20_000}, 5000},
		{TenantConfig{ID: "t", Graph: defaultGraph, Licences: 20_000, UnitsPerMinute: 700}, 700},
		{TenantConfig{ID: "t", Graph: "http://127.0.0.1:8365/v1.0"}, 0},
		{TenantConfig{ID: "t", Graph: "http://localhost:8365/v1.0", Licences: 1}, 1250},
	} {
		s.roster.Store(&roster{of: map[backup.TenantID]*served{"t": {TenantConfig: tt.tenant}}})
		l, err := s.limits("t")(t.Context())
		if err != nil || l.PerMinute != tt.want {
			t.Errorf("%+v: %+v, %v, want %d a minute", tt.tenant, l, err, tt.want)
		}
	}
}
