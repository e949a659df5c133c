package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is wrong in a configuration is said with its place, and with what may have
// been meant.
func TestConfigurationErrorsNameTheirPlace(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"{\n  \"listen\": \"127.0.0.1:1\",\n  \"intervall\": \"10m\"\n}", `c.json:3:3: unknown field "intervall"; perhaps "interval" is meant`},
		{"{\"vault\": {\"dirr\": \"x\"}}", `c.json:1:12: unknown field "dirr"; perhaps "dir" is meant`},
		{"{\"tenants\": [{}, {\"clientID\": \"a\",\n \"secret\": \"b\"}]}", `c.json:2:2: unknown field "secret"`},
		{"{\"workers\": 1, \"Workers\": 2}", `c.json:1:16: "Workers" is there twice`},
		{"{\"colour\": {\"a\": 1, \"a\": 2}}", `c.json:1:21: "a" is there twice`},
		{"{\"workers\": \"four\"}", `workers cannot be a string`},
		{"{\n\"listen\": \"x\"\n\"state\": \"y\"}", `c.json:3:1: invalid character`},
		{"{\"listen\": ", `c.json:1:12: the file ends too soon`},
		{"[]", `c.json:1:1: the file cannot be an array`},
		{"", `c.json:1:1: the file ends too soon`},
		{"{}\n{}", `c.json:2:1: invalid character '{' after top-level value`},
		{"// said by a person\n{\"workers\": /* all */ 4, \"workerz\": 1,}", `c.json:2:26: unknown field "workerz"; perhaps "workers" is meant`},
		{"{\"ü\": 1, \"workers\" 1}", `c.json:1:20: invalid character '1' after object name`},
		{"{\"workers\": 4 /* all", `c.json:1:21: the file ends too soon`},
		{"{\"workers\": \"\\x\"}", `c.json:1:13: invalid`},
		{"{\"ü\": 1, \"workerz\": 1}", `c.json:1:10: unknown field "workerz"; perhaps "workers" is meant`},
	} {
		path := filepath.Join(t.TempDir(), "c.json")
		if err := os.WriteFile(path, []byte(row.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := ReadConfig(path)
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s\nis refused as\n%v\nwant %s", row.text, err, row.want)
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
