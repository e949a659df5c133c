package simtenant

import (
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // calendars mean the same on every machine
)

// windowsZones are the names that Windows, and so Outlook, has for zones: each with
// its usual one.
var windowsZones = func() map[string]string {
	out := map[string]string{}
	for line := range strings.SplitSeq(`Dateline=Etc/GMT+12 Aleutian=America/Adak Hawaiian=Pacific/Honolulu Marquesas=Pacific/Marquesas Alaskan=America/Anchorage
Pacific_(Mexico)=America/Tijuana Pacific=America/Los_Angeles US_Mountain=America/Phoenix Mountain_(Mexico)=America/Mazatlan Mountain=America/Denver Yukon=America/Whitehorse
Central_America=America/Guatemala Central=America/Chicago Easter_Island=Pacific/Easter Central_(Mexico)=America/Mexico_City Canada_Central=America/Regina
SA_Pacific=America/Bogota Eastern_(Mexico)=America/Cancun Eastern=America/New_York Haiti=America/Port-au-Prince Cuba=America/Havana US_Eastern=America/Indianapolis
Turks_And_Caicos=America/Grand_Turk Paraguay=America/Asuncion Atlantic=America/Halifax Venezuela=America/Caracas Central_Brazilian=America/Cuiaba SA_Western=America/La_Paz
Pacific_SA=America/Santiago Newfoundland=America/St_Johns Tocantins=America/Araguaina E._South_America=America/Sao_Paulo SA_Eastern=America/Cayenne
Argentina=America/Buenos_Aires Greenland=America/Godthab Montevideo=America/Montevideo Magallanes=America/Punta_Arenas Saint_Pierre=America/Miquelon Bahia=America/Bahia
Azores=Atlantic/Azores Cape_Verde=Atlantic/Cape_Verde GMT=Europe/London Greenwich=Atlantic/Reykjavik Sao_Tome=Africa/Sao_Tome Morocco=Africa/Casablanca W._Europe=Europe/Berlin
Central_Europe=Europe/Budapest Romance=Europe/Paris Central_European=Europe/Warsaw W._Central_Africa=Africa/Lagos Jordan=Asia/Amman GTB=Europe/Bucharest
Middle_East=Asia/Beirut Egypt=Africa/Cairo E._Europe=Europe/Chisinau Syria=Asia/Damascus West_Bank=Asia/Hebron South_Africa=Africa/Johannesburg FLE=Europe/Kiev
Israel=Asia/Jerusalem South_Sudan=Africa/Juba Kaliningrad=Europe/Kaliningrad Sudan=Africa/Khartoum Libya=Africa/Tripoli Namibia=Africa/Windhoek Arabic=Asia/Baghdad
Turkey=Europe/Istanbul Arab=Asia/Riyadh Belarus=Europe/Minsk Russian=Europe/Moscow E._Africa=Africa/Nairobi Iran=Asia/Tehran Arabian=Asia/Dubai Astrakhan=Europe/Astrakhan
Azerbaijan=Asia/Baku Mauritius=Indian/Mauritius Saratov=Europe/Saratov Georgian=Asia/Tbilisi Volgograd=Europe/Volgograd Caucasus=Asia/Yerevan Afghanistan=Asia/Kabul
West_Asia=Asia/Tashkent Ekaterinburg=Asia/Yekaterinburg Pakistan=Asia/Karachi Qyzylorda=Asia/Qyzylorda India=Asia/Calcutta Sri_Lanka=Asia/Colombo Nepal=Asia/Katmandu
Central_Asia=Asia/Bishkek Bangladesh=Asia/Dhaka Omsk=Asia/Omsk Myanmar=Asia/Rangoon SE_Asia=Asia/Bangkok Altai=Asia/Barnaul W._Mongolia=Asia/Hovd
North_Asia=Asia/Krasnoyarsk N._Central_Asia=Asia/Novosibirsk Tomsk=Asia/Tomsk China=Asia/Shanghai North_Asia_East=Asia/Irkutsk Singapore=Asia/Singapore
W._Australia=Australia/Perth Taipei=Asia/Taipei Ulaanbaatar=Asia/Ulaanbaatar Aus_Central_W.=Australia/Eucla Transbaikal=Asia/Chita Tokyo=Asia/Tokyo
North_Korea=Asia/Pyongyang Korea=Asia/Seoul Yakutsk=Asia/Yakutsk Cen._Australia=Australia/Adelaide AUS_Central=Australia/Darwin E._Australia=Australia/Brisbane
AUS_Eastern=Australia/Sydney West_Pacific=Pacific/Port_Moresby Tasmania=Australia/Hobart Vladivostok=Asia/Vladivostok Lord_Howe=Australia/Lord_Howe
Bougainville=Pacific/Bougainville Magadan=Asia/Magadan Norfolk=Pacific/Norfolk Sakhalin=Asia/Sakhalin Central_Pacific=Pacific/Guadalcanal New_Zealand=Pacific/Auckland
Fiji=Pacific/Fiji Chatham_Islands=Pacific/Chatham Tonga=Pacific/Tongatapu Samoa=Pacific/Apia Line_Islands=Pacific/Kiritimati`, "\n") {
		for pair := range strings.FieldsSeq(line) {
			name, usual, _ := strings.Cut(pair, "=")
			name = strings.ToLower(strings.ReplaceAll(name, "_", " "))
			if rest, ok := strings.CutSuffix(name, " (mexico)"); ok {
				out[rest+" standard time (mexico)"] = usual
			} else {
				out[name+" standard time"] = usual
			}
		}
	}
	for name, usual := range map[string]string{"utc": "UTC", "utc-11": "Etc/GMT+11", "utc-09": "Etc/GMT+9", "utc-08": "Etc/GMT+8", "utc-02": "Etc/GMT+2", "utc+12": "Etc/GMT-12",
		"utc+13": "Etc/GMT-13", "russia time zone 3": "Europe/Samara", "russia time zone 10": "Asia/Srednekolymsk", "russia time zone 11": "Asia/Kamchatka"} {
		out[name] = usual
	}
	return out
}()

// zone finds a zone by its usual name or the one that Windows has for it.
func zone(name string) (*time.Location, bool) {
	name = strings.Trim(name, `" `)
	if usual, ok := windowsZones[strings.ToLower(name)]; ok {
		name = usual
	}
	if name == "" || strings.EqualFold(name, "local") {
		return time.UTC, false
	}
	for _, try := range []string{name, zoneName(name)} {
		if l, err := time.LoadLocation(try); err == nil {
			return l, true
		}
	}
	// Some programs put their own name before it.
	if _, after, ok := strings.Cut(strings.TrimPrefix(name, "/"), "/"); ok && strings.Count(after, "/") > 0 {
		return zone(after)
	}
	return time.UTC, false
}

// zoneCard describes a zone to who does not know it, as it is around a time.
func zoneCard(l *time.Location, around time.Time) *card {
	c := &card{kind: "VTIMEZONE", lines: []string{"TZID:" + l.String()}}
	offset := func(t time.Time) string {
		_, s := t.In(l).Zone()
		sign := '+'
		if s < 0 {
			sign, s = '-', -s
		}
		return fmt.Sprintf("%c%02d%02d", sign, s/3600, s/60%60)
	}
	observe := func(at, before time.Time, rule string) {
		kind := "STANDARD"
		if at.In(l).IsDST() {
			kind = "DAYLIGHT"
		}
		_, was := before.In(l).Zone()
		local := at.UTC().Add(time.Duration(was) * time.Second) // as the clocks showed it
		part := &card{kind: kind, lines: []string{"DTSTART:" + local.Format("20060102T150405"), "TZOFFSETFROM:" + offset(before), "TZOFFSETTO:" + offset(at)}}
		if rule != "" {
			nth := (local.Day()-1)/7 + 1
			if local.AddDate(0, 0, 7).Month() != local.Month() {
				nth = -1
			}
			part.lines = append(part.lines, fmt.Sprintf("RRULE:FREQ=YEARLY;BYMONTH=%d;BYDAY=%d%s", local.Month(), nth, strings.ToUpper(local.Weekday().String()[:2])))
		}
		c.parts = append(c.parts, part)
	}
	year := time.Date(around.Year(), 1, 1, 0, 0, 0, 0, l)
	first, changed := year, false
	for {
		_, next := first.ZoneBounds()
		if next.IsZero() || next.In(l).Year() != around.In(l).Year() {
			break
		}
		observe(next, next.Add(-time.Second), "yearly")
		first, changed = next, true
	}
	if !changed {
		observe(year, year, "")
	}
	return c
}
