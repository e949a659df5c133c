package main

import "testing"

func TestWhatIsTheAPIs(t *testing.T) {
	for path, want := range map[string]bool{
		"/v1.0/solutions/backupRestore":                    true,
		"/V1.0/Solutions/backuprestore/protectionPolicies": true,
		"/beta/solutions/backupRestore/activityLogs":       true,
		"/v9/solutions/backupRestore":                      true,
		"/v1.0":                                            true,
		"/v1.0/":                                           true,
		"/v1.0/$batch":                                     true,
		"/v1.0/$metadata":                                  true,
		"/v1.0/users":                                      false,
		"/v1.0/drives/b!x/root/delta":                      false,
		"/contoso.com/oauth2/v2.0/token":                   false,
		"/common/discovery/instance":                       false,
		"/":                                                false,
	} {
		if got := isAPI(path); got != want {
			t.Errorf("isAPI(%q) = %v, want %v", path, got, want)
		}
	}
}
