package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What is wrong in a configuration is said with its place, and with what may have
// been meant.
func TestConfigurationErrorsNameTheirPlace(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"{\n  \"listen\": \"127.0.0.1:1\",\n  \"intervall\": \"10m\"\n}", `c.json:3:3: unknown field "intervall"; perhaps "interval" is meant`},
		{"{\"vault\": {\"dirr\": \"x\"}}", `c.json:1:12: unknown field "dirr"; perhaps "dir" is meant`},
		{"{\"tenants\": [{}, {\"clientID\": \"a\",\n \"secret\": \"b\"}]}", `c.json:2:2: unknown field "secret"; it is not written into this file: name one that holds it as "secretFile", or a variable of the environment as "secretEnv"`},
		{"{\"workers\": 1, \"Workers\": 2}", `c.json:1:16: "Workers" is there twice`},
		{"{\"colour\": {\"a\": 1, \"a\": 2}}", `c.json:1:21: "a" is there twice`},
		{"{\"ü\": 1, \"workerz\": 1}", `c.json:1:10: unknown field "workerz"; perhaps "workers" is meant`},
		{"// said by a person\n{\"workers\": /* all */ 4, \"workerz\": 1,}", `c.json:2:26: unknown field "workerz"; perhaps "workers" is meant`},
		// Values of another kind.
		{"{\"workers\": \"four\"}", `c.json:1:13: workers is a whole number, not a text`},
		{"{\"workers\": 4.5}", `c.json:1:13: workers is a whole number, not 4.5`},
		{"{\"workers\": 10000000000000000000}", `c.json:1:13: workers is a whole number, and not so large a one`},
		{"{\"listen\": 8365,\n\"anyUserBrowses\": \"yes\"}", "c.json:1:12: listen is a text in double quotes, not a number\nC/c.json:2:19: anyUserBrowses is true or false, not a text"},
		{"{\"vault\": \"/vault\"}", `c.json:1:11: vault is an object, { … }, not a text`},
		{"{\"tenants\": {}}", `c.json:1:13: tenants is a list, [ … ], not an object`},
		{"{\"tenants\": [{\"scopes\": {\"Finance\": {\"owners\": [\"a\", 1]}}}]}", `c.json:1:54: tenants[0].scopes.Finance.owners[1] is a text in double quotes, not a number`},
		{"[]", `c.json:1:1: the file is an object, { … }, not a list`},
		// Texts that say something else than they should.
		{"{\"interval\": 10}", `c.json:1:14: interval: a duration is a text such as "10m", not 10`},
		{"{\"alerts\": {\"failing\": \"1d\"}}", `c.json:1:24: alerts.failing: "1d" is no duration: give hours, minutes and seconds`},
		{"{\"trustedProxies\": [\"10.0.0.0/8\", \"10.0.0.1\"]}", `c.json:1:35: trustedProxies[1]: this is no network: give one such as "10.0.0.0/8"`},
		// What is no JSON.
		{"{\n\"listen\": \"x\"\n\"state\": \"y\"}", `c.json:3:1: a comma is missing before this`},
		{"{\"tenants\": [{} {}]}", `c.json:1:17: a comma is missing before this`},
		{"{\"ü\": 1, \"workers\" 1}", `c.json:1:20: a colon is missing before this`},
		{"{\"listen\": ", `c.json:1:12: the file ends too soon`},
		{"{\"workers\": 4 /* all", `c.json:1:21: the file ends too soon`},
		{"", `c.json:1:1: the file is empty`},
		{" \n", `c.json:1:1: the file is empty`},
		{"{}\n{}", `c.json:2:1: the object has ended before this, and "{" stands behind it`},
		{"{}\x00", `c.json:1:3: the object has ended before this`},
		{"{\"state\": \"C:\\state\"}", `c.json:1:11: this text cannot be read: within one, " is written as \", and \ as \\`},
		{"{\"state\": state}", `c.json:1:11: a value has to be here, not "state": texts are in double quotes`},
		{"{'state': 1}", `c.json:1:2: a name in double quotes has to be here, not "'state'"`},
		{"{state: 1}", `c.json:1:2: a name in double quotes has to be here, not "state"`},
		{"{\"workers\": ]", `c.json:1:13: a value has to be here, not "]"`},
		{"listen: 127.0.0.1:1\n", `c.json:1:1: the file has to be JSON, an object that begins with {, and not with "l"`},
		{"[vault]\ndir = x\n", `the file has to be JSON, an object that begins with {, and not with "["`},
		{"\xff\xfe{\x00}\x00", `c.json:1:1: the file is in UTF-16`},
		{"{\x00}\x00", `c.json:1:1: the file is in UTF-16`},
		{"{\"state\": \"ö/\xf6\"}", `c.json:1:14: this is not UTF-8`},
		{"\uFEFF{\n\"workerz\": 1}", `c.json:2:1: unknown field "workerz"`},
	} {
		path := filepath.Join(t.TempDir(), "c.json")
		if err := os.WriteFile(path, []byte(row.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := ReadConfig(path)
		if err == nil || !strings.Contains(err.Error(), strings.ReplaceAll(row.want, "C/", filepath.Dir(path)+"/")) {
			t.Errorf("%q\nis refused as\n%v\nwant %s", row.text, err, row.want)
		}
	}
}

// What a configuration may say is refused nowhere.
func TestTheExampleHasNoUnknownFields(t *testing.T) {
	data, err := readJSON("../../examples/serve.json")
	if err != nil {
		t.Fatal(err)
	}
	var cfg Config
	if err := decodeWhole("serve.json", data, &cfg); err != nil {
		t.Error(err)
	}
	const rare = `{"vault": {"s3": {"bucket": "b", "lock": {"mode": "governance", "days": 30}}}, "retention": {}, "trustedProxies": ["10.0.0.0/8"], "offboardGrace": "1h"}`
	if err := decodeWhole("rare.json", []byte(rare), &cfg); err != nil {
		t.Error(err)
	}
}

// What Windows puts before a text is no part of it, and null is as if nothing were said.
func TestWhatIsNothingIsReadAsNothing(t *testing.T) {
	path := writeConfig(t, func(cfg map[string]any) { cfg["interval"], cfg["vault"].(map[string]any)["s3"] = nil, nil })
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append([]byte("\uFEFF"), data...), 0o600); err != nil {
		t.Fatal(err)
	}
	if cfg, err := ReadConfig(path); err != nil || cfg.Interval != Duration(defaultInterval) {
		t.Errorf("the interval is %v, %v", time.Duration(cfg.Interval), err)
	}
}
