package simtenant

import (
	"fmt"
	"strings"
	"testing"
)

// Settings are as at first until a client changes them, and then a file says so.
func TestMailboxSettings(t *testing.T) {
	w := newWorld(t)
	me := "/users/" + amala + "/mailboxSettings"
	if a := w.must(200, "GET", me, nil); a.text("timeZone") != "UTC" || a.text("automaticRepliesSetting", "status") != "disabled" || a.text("archiveFolder") == "" {
		t.Errorf("at first the settings are %s", a.raw)
	}
	changed := w.must(200, "PATCH", me, object{"timeZone": "W. Europe Standard Time", "automaticRepliesSetting": object{"status": "alwaysEnabled", "internalReplyMessage": "away"}})
	if changed.text("automaticRepliesSetting", "externalAudience") != "all" {
		t.Errorf("what was not named is %s", changed.raw)
	}
	w.must(200, "PATCH", me, object{"automaticRepliesSetting": object{"externalAudience": "none"}, "language": object{"locale": "de-DE"}})
	w.restart()
	a := w.must(200, "GET", me, nil)
	if got := fmt.Sprint(a.text("timeZone"), a.text("automaticRepliesSetting", "status"), a.text("automaticRepliesSetting", "internalReplyMessage"), a.text("automaticRepliesSetting", "externalAudience"), a.text("language", "locale")); got != "W. Europe Standard TimealwaysEnabledawaynonede-DE" {
		t.Errorf("after a restart they are %s", a.raw)
	}
	if a := w.must(200, "GET", me+"/timeZone", nil); a.text("value") != "W. Europe Standard Time" {
		t.Errorf("the zone is %s", a.raw)
	}
	if a := w.must(200, "GET", me+"/automaticRepliesSetting", nil); a.text("status") != "alwaysEnabled" {
		t.Errorf("the replies are %s", a.raw)
	}
	w.must(404, "GET", me+"/nothing", nil)
	for name, body := range map[string]object{
		"Mars": {"timeZone": "Mars"}, "nonsense": {"nonsense": true}, "status": {"automaticRepliesSetting": object{"status": "x"}}, "xday": {"workingHours": object{"daysOfWeek": []string{"xday"}}},
		"locale": {"language": object{}}, "none": {"automaticRepliesSetting": object{"scheduledEndDateTime": object{"dateTime": "x"}}},
	} {
		if a := w.do("PATCH", me, body); a.status != 400 || !strings.Contains(string(a.raw), name) {
			t.Errorf("%v = %d %s", body, a.status, a.raw)
		}
	}
	w.mail("{", amala, settingsJSON)
	if a := w.do("GET", me, nil); a.status == 200 {
		t.Errorf("of a file that is none: %s", a.raw)
	}
}
