package drive

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"holdfast/internal/jsonscan"
)

// usualItem is an item as the source writes it.
const usualItem = `{"@odata.context":"https://graph.microsoft.com/v1.0/$metadata#drives('b%21x')/items/$entity","@microsoft.graph.downloadUrl":"https://contoso-my.sharepoint.com/x?tempauth=1",` +
	`"createdBy":{"user":{"displayName":"Ann","id":"1"}},"createdDateTime":"2026-01-02T03:04:05Z","cTag":"\"c:{1},2\"","eTag":"\"{1},2\"","id":"01ABC","lastModifiedDateTime":"2026-01-02T03:04:06Z",` +
	`"name":"caf\u00e9 \u0026 b\u00fccher.txt","parentReference":{"driveType":"business","driveId":"b!x","id":"01ROOT","name":"a","path":"/drives/b!x/root:/a","siteId":"s"},` +
	`"size":12, "fileSystemInfo":{"createdDateTime":"2020-01-02T03:04:05.1Z","lastModifiedDateTime":"2020-01-02T03:04:06Z"},"file":{"mimeType":"text/plain","hashes":{"quickXorHash":"AAAA="}},"shared":{"scope":"users"},"webUrl":"https://x"}`

var oddItems = []string{
	usualItem,
	`{"id":"1","name":"f","folder":{"childCount":3},"parentReference":null,"file":null,"size":null}`,
	`{"id":"1","folder":{"childCount":null},"root":{},"package":{"type":"oneNote"},"remoteItem":{"id":"2","size":"x"},"malware":{"description":""},"deleted":{"state":"deleted"}}`,
	`{"id":"1","size":"1234567890123","size":-5,"name":"a","name":"b","file":{"mimeType":"a"},"file":{"hashes":{"quickXorHash":"h"}}}`,
	`{"ID":"1","NAME":"x"}`, `{"i\u0064":"1"}`, `{"id":1}`, `{"id":"1","size":{}}`, `{"id":"1","folder":{"childCount":1.5}}`, `{"id":"1","folder":{"childCount":"1"}}`, `{"id":"1","folder":[]}`,
	`{"id":"1","name":"\ud800"}`, "{\"id\":\"\xff\"}", `{"id":"1",}`, `{"id":"1"`, `{"id":"1"} x`, `{"id":"1","x":01}`, `{"id":"1","x":tru}`, `{"id":"1","x":"\q"}`, "{\"id\":\"1\",\"x\":\"\n\"}",
	`{"id":"1","x":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`, `null`, `[]`, ``, `{}`, ` { } `, `{"id":null,"file":{"hashes":null},"fileSystemInfo":null,"sharepointIds":{"siteId":"s"}}`,
	`{"createdDateTime":"0001-01-01T00:00:00Z","lastModifiedDateTime":"yesterday","fileSystemInfo":{"createdDateTime":5}}`, "{\"\u017fize\":1}", `{"uploadUrl":"x","id":"1"}`,
	`{"@microsoft.graph.downloadUrl":7,"id":"1"}`, `{"@microsoft.graph.downloadUrl":"x","@microsoft.graph.downloadUrl":null}`, `{"@microsoft.graph.downloadURL":{"a":"x"}}`, `{"@microsoft.graph.downloadUrl":{"a":"x"}}`,
}

// What is scanned is what encoding/json makes of it.
func FuzzScan(f *testing.F) {
	for _, s := range oddItems {
		f.Add([]byte(s))
		f.Add(fmt.Appendf(nil, `{"@odata.nextLink":"https://x","value":[%s,%s]}`, s, usualItem))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var it, want wireItem
		if jsonscan.Scan(b, &it) {
			if err := json.Unmarshal(b, &want); err != nil || !reflect.DeepEqual(it, want) {
				t.Errorf("%q is\n%+v, encoding/json has\n%+v, %v", b, it, want, err)
			}
		}
		var p, slow page[wireItem]
		if jsonscan.Scan(b, &p) {
			if err := json.Unmarshal(b, &slow); err != nil || !reflect.DeepEqual(p, slow) {
				t.Errorf("%q is\n%+v, encoding/json has\n%+v, %v", b, p, slow, err)
			}
		}
	})
}

// The usual answers are scanned, and those that need a judge are not.
func TestScanTakesWhatIsUsual(t *testing.T) {
	for body, want := range map[string]bool{
		usualItem:       true,
		oddItems[1]:     true,
		`{"ID":"1"}`:    false,
		`{"id":1}`:      false,
		usualItem + ",": false,
	} {
		if got := jsonscan.Scan([]byte(body), new(wireItem)); got != want {
			t.Errorf("%s: %v", body, got)
		}
		if got := jsonscan.Scan(fmt.Appendf(nil, `{"value":[%s]}`, body), new(page[wireItem])); got != want {
			t.Errorf("a page of %s: %v", body, got)
		}
	}
	if jsonscan.Scan([]byte(`{"value":[]}`), new(page[wireUser])) {
		t.Error("a page of what cannot be scanned was")
	}
}

// BenchmarkTakePage reads a page of 1,000 items, beside encoding/json.
func BenchmarkTakePage(b *testing.B) {
	body := []byte(`{"value":[` + strings.Repeat(usualItem+",", 999) + usualItem + `],"@odata.nextLink":"https://x"}`)
	for name, take := range map[string]func() error{
		"scan": func() error { return new(page[wireItem]).take(body) },
		"json": func() error { return json.Unmarshal(body, new(page[wireItem])) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := take(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
