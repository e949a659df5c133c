package simtenant

import (
	"net/http"
	"strconv"
	"testing"
	"time"
)

func TestMicrosoftsLimits(t *testing.T) {
	w := newWorld(t)
	w.write("amala@contoso.com/a.txt", "hello")
	drive := "/users/amala@contoso.com/drive"
	w.faults.Set(func(o *Options) { o.Limits = LimitOptions{PerMinute: 20, PerDay: 100} })
	minute := func() { // the next begins
		now := w.svc.clock()
		w.svc.time.mu.Lock()
		defer w.svc.time.mu.Unlock()
		w.svc.time.ahead += now.Truncate(time.Minute).Add(time.Minute).Sub(now)
	}
	left := func(a answer) string {
		return a.header.Get("RateLimit-Limit") + "/" + a.header.Get("RateLimit-Remaining")
	}
	minute()
	for i, tt := range []struct {
		method, address string
		want            string
	}{
		{"GET", drive, "/"},                                  // 1
		{"GET", drive + "/root/children", "/"},               // 3
		{"GET", drive + "/root/delta", "/"},                  // 5
		{"GET", drive + "/root/permissions", "/"},            // 10
		{"GET", "/users", "/"},                               // the directory has limits of its own
		{"GET", drive + "/root:/a.txt", "/"},                 // 11
		{"GET", drive + "/root?$expand=permissions", "20/4"}, // 16
		{"GET", drive + "/root/delta?token=latest", "20/3"},  // 17
		{"GET", drive + "/root/children", "20/1"},            // 19
		{"GET", drive + "/root", "20/0"},                     // 20
	} {
		a := w.do(tt.method, tt.address, nil)
		if a.status == 429 || left(a) != tt.want {
			t.Errorf("call %d, %s: %d with %q left, want %q", i, tt.address, a.status, left(a), tt.want)
		}
	}
	a := w.do("GET", drive, nil)
	if a.status != http.StatusTooManyRequests || left(a) != "20/0" || a.text("error", "code") != "activityLimitReached" {
		t.Errorf("beyond the limit: %d %s, %q left", a.status, a.raw, left(a))
	}
	if after, _ := strconv.Atoi(a.header.Get("Retry-After")); after < 1 || after > 60 || a.header.Get("RateLimit-Reset") != a.header.Get("Retry-After") {
		t.Errorf("Retry-After is %q, RateLimit-Reset %q", a.header.Get("Retry-After"), a.header.Get("RateLimit-Reset"))
	}
	minute()
	where := w.must(200, "GET", drive+"/root:/a.txt", nil).text("@microsoft.graph.downloadUrl")
	for range 19 {
		if a = w.do("GET", where, nil); a.status != 200 {
			t.Fatalf("a download is answered %d %s", a.status, a.raw)
		}
	}
	if a = w.do("GET", where, nil); a.status != http.StatusTooManyRequests {
		t.Errorf("a download beyond the limit is answered %d", a.status)
	}
	// The day's are used up by and by, which is said without RateLimit headers.
	for n := 0; a.status != 429 || left(a) != "/"; n++ {
		minute()
		for range 15 {
			a = w.do("GET", drive, nil)
		}
		if n > 10 {
			t.Fatal("the day does not end")
		}
	}
	if after, _ := strconv.Atoi(a.header.Get("Retry-After")); after < 3600 {
		t.Errorf("Retry-After is %d s", after)
	}
}

func TestLimitsGoByLicences(t *testing.T) {
	for licences, want := range map[int]LimitOptions{
		0:      {},
		1000:   {Licences: 1000, PerMinute: 1250, PerDay: 1_200_000, GBPerHour: 400},
		15_001: {Licences: 15_001, PerMinute: 5000, PerDay: 4_800_000, GBPerHour: 400},
		90_000: {Licences: 90_000, PerMinute: 6250, PerDay: 6_000_000, GBPerHour: 400},
	} {
		if got := (LimitOptions{Licences: licences}).resolve(); got != want {
			t.Errorf("of %d licences: %+v, want %+v", licences, got, want)
		}
	}
}
