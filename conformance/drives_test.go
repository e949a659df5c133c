package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	abstractions "github.com/microsoft/kiota-abstractions-go"
	core "github.com/microsoftgraph/msgraph-sdk-go-core"
	"github.com/microsoftgraph/msgraph-sdk-go-core/fileuploader"
	"github.com/microsoftgraph/msgraph-sdk-go/drives"
	"github.com/microsoftgraph/msgraph-sdk-go/groups"
	"github.com/microsoftgraph/msgraph-sdk-go/models"
	"github.com/microsoftgraph/msgraph-sdk-go/models/odataerrors"
	"github.com/microsoftgraph/msgraph-sdk-go/sites"
	"github.com/microsoftgraph/msgraph-sdk-go/subscriptions"
	"github.com/microsoftgraph/msgraph-sdk-go/users"
)

// What an app does with drives, told by Microsoft's Go client: the directory, items
// by id and by path, an upload in ranges that is resumed, a copy, permissions,
// versions, search, a batch, the delta, and being told of changes.
func TestGoSDKTellsOfDrives(t *testing.T) {
	ctx := t.Context()
	_, adapter := backupRestore(t, asApplication(t))
	base := map[string]string{"baseurl": dev.HTTPS + "/v1.0"}
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, explain(err))
		}
	}

	people, err := users.NewUsersRequestBuilderInternal(base, adapter).Get(ctx, &users.UsersRequestBuilderGetRequestConfiguration{
		QueryParameters: &users.UsersRequestBuilderGetQueryParameters{Filter: new("startswith(displayName,'Lothar')"), Select: []string{"id", "displayName"}},
	})
	must("list users", err)
	if len(people.GetValue()) != 1 {
		t.Fatalf("there are %d users of that name", len(people.GetValue()))
	}
	_, err = groups.NewGroupsRequestBuilderInternal(base, adapter).Get(ctx, nil)
	must("list groups", err)
	site, err := sites.NewSitesRequestBuilderInternal(base, adapter).BySiteId("root").Get(ctx, nil)
	must("read the root site", err)
	if site.GetWebUrl() == nil {
		t.Error("the root site has no address")
	}
	own, err := users.NewUsersRequestBuilderInternal(base, adapter).ByUserId(*people.GetValue()[0].GetId()).Drive().Get(ctx, nil)
	must("read the user's drive", err)
	drive := drives.NewDrivesRequestBuilderInternal(base, adapter).ByDriveId(*own.GetId())
	item := func(id string) *drives.ItemItemsDriveItemItemRequestBuilder {
		return drive.Items().ByDriveItemId(id)
	}

	// By id and by path.
	create := models.NewDriveItem()
	create.SetName(new("From Go #1"))
	create.SetFolder(models.NewFolder())
	folder, err := item("root").Children().Post(ctx, create, nil)
	must("make a folder", err)
	at := "root:/From Go #1/"
	small, err := item(at+"naïve café 100%.txt:").Content().Put(ctx, []byte("a word"), nil)
	must("upload by path", err)
	byPath, err := item(at+"naïve café 100%.txt:").Get(ctx, nil)
	must("read by path", err)
	if *byPath.GetId() != *small.GetId() || *small.GetSize() != 6 {
		t.Errorf("by path it is %s, and was made as %s", *byPath.GetId(), *small.GetId())
	}
	_, err = item(*small.GetId()).Content().Put(ctx, []byte("two words"), nil)
	must("upload by id", err)
	versions, err := item(*small.GetId()).Versions().Get(ctx, nil)
	must("list versions", err)
	if len(versions.GetValue()) != 2 {
		t.Fatalf("there are %d versions", len(versions.GetValue()))
	}
	must("restore a version", item(*small.GetId()).Versions().ByDriveItemVersionId(*versions.GetValue()[1].GetId()).RestoreVersion().Post(ctx, nil))
	if text, err := item(*small.GetId()).Content().Get(ctx, nil); err != nil || string(text) != "a word" {
		t.Errorf("after the restore it is %q, %v", text, explain(err))
	}

	// In ranges: the first by hand, the rest by the client's own task, which asks what is
	// missing.
	big := bytes.Repeat([]byte("0123456789"), 100_000)
	file := filepath.Join(t.TempDir(), "big.bin")
	if err := os.WriteFile(file, big, 0o600); err != nil {
		t.Fatal(err)
	}
	opened, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	session, err := item(at+"big.bin:").CreateUploadSession().Post(ctx, drives.NewItemItemsItemCreateUploadSessionPostRequestBody(), nil)
	must("begin an upload", err)
	const unit = 320 << 10
	first, err := http.NewRequestWithContext(ctx, "PUT", *session.GetUploadUrl(), bytes.NewReader(big[:unit]))
	if err != nil {
		t.Fatal(err)
	}
	first.Header.Set("Content-Range", "bytes 0-327679/1000000")
	if answer, err := http.DefaultClient.Do(first); err != nil || answer.StatusCode != http.StatusAccepted {
		t.Fatalf("the first range: %v, %v", answer, err)
	}
	task := fileuploader.NewLargeFileUploadTask[models.DriveItemable](adapter, session, opened, unit, models.CreateDriveItemFromDiscriminatorValue,
		abstractions.ErrorMappings{"4XX": odataerrors.CreateODataErrorFromDiscriminatorValue, "5XX": odataerrors.CreateODataErrorFromDiscriminatorValue})
	result, err := task.Resume(func(int64, int64) {})
	must("resume the upload", err)
	if !result.GetUploadSucceeded() {
		t.Fatalf("the upload: %v", result.GetResponseErrors())
	}
	whole, err := item(at+"big.bin:").Content().Get(ctx, nil)
	must("read what was uploaded", err)
	if !bytes.Equal(whole, big) {
		t.Errorf("what was uploaded has %d bytes", len(whole))
	}

	// A copy, whose monitor the client does not follow.
	copying := drives.NewItemItemsItemCopyPostRequestBody()
	copying.SetName(new("copy.txt"))
	_, err = item(*small.GetId()).Copy().Post(ctx, copying, nil)
	must("copy", err)
	eventually(t, "the copy is there", func(ctx context.Context) bool {
		_, err := item(at+"copy.txt:").Get(ctx, nil)
		return err == nil
	})

	// Who may see it, and what can be found.
	link := drives.NewItemItemsItemCreateLinkPostRequestBody()
	link.SetTypeEscaped(new("view"))
	link.SetScope(new("organization"))
	_, err = item(*small.GetId()).CreateLink().Post(ctx, link, nil)
	must("make a link", err)
	permissions, err := item(*small.GetId()).Permissions().Get(ctx, nil)
	must("list permissions", err)
	if len(permissions.GetValue()) < 2 {
		t.Errorf("there are %d permissions", len(permissions.GetValue()))
	}
	found, err := item("root").SearchWithQ(new("naïve")).GetAsSearchWithQGetResponse(ctx, nil)
	must("search", err)
	if !slices.ContainsFunc(found.GetValue(), func(i models.DriveItemable) bool { return *i.GetId() == *small.GetId() }) {
		t.Errorf("the search found %d others", len(found.GetValue()))
	}

	// A batch.
	batch := core.NewBatchRequest(adapter)
	var steps []string
	for _, id := range []string{*small.GetId(), "nothing"} {
		ask, err := item(id).ToGetRequestInformation(ctx, nil)
		must("put a request together", err)
		step, err := batch.AddBatchRequestStep(*ask)
		must("add it to a batch", err)
		steps = append(steps, *step.GetId())
	}
	answers, err := batch.Send(ctx, adapter)
	must("send a batch", err)
	for i, want := range []int32{200, 404} {
		if got := answers.GetResponseById(steps[i]).GetStatus(); got == nil || *got != want {
			t.Errorf("of the batch, request %d answered %v, want %d", i, got, want)
		}
	}

	// Being told of changes.
	var mu sync.Mutex
	told := false
	listener := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if token := r.URL.Query().Get("validationToken"); token != "" {
			w.Header().Set("Content-Type", "text/plain")
			io.WriteString(w, token)
			return
		}
		var note struct {
			Value []struct {
				State string `json:"clientState"`
			} `json:"value"`
		}
		json.NewDecoder(r.Body).Decode(&note)
		mu.Lock()
		defer mu.Unlock()
		told = told || len(note.Value) > 0 && note.Value[0].State == "mine"
		w.WriteHeader(http.StatusAccepted)
	}))
	defer listener.Close()
	wish := models.NewSubscription()
	wish.SetChangeType(new("updated"))
	wish.SetResource(new("/drives/" + *own.GetId() + "/root"))
	wish.SetClientState(new("mine"))
	wish.SetNotificationUrl(&listener.URL)
	until := time.Now().Add(time.Hour)
	wish.SetExpirationDateTime(&until)
	all := subscriptions.NewSubscriptionsRequestBuilderInternal(base, adapter)
	subscription, err := all.Post(ctx, wish, nil)
	must("subscribe", err)

	// The delta, and then what changes.
	delta := item("root").Delta()
	page, err := delta.GetAsDeltaGetResponse(ctx, nil)
	must("read the delta", err)
	seen := map[string]bool{}
	for {
		for _, i := range page.GetValue() {
			seen[*i.GetId()] = true
		}
		if page.GetOdataNextLink() == nil {
			break
		}
		page, err = delta.WithUrl(*page.GetOdataNextLink()).GetAsDeltaGetResponse(ctx, nil)
		must("read on in the delta", err)
	}
	if !seen[*folder.GetId()] || !seen[*small.GetId()] {
		t.Errorf("the delta tells %v", seen)
	}
	must("delete the folder", item(*folder.GetId()).Delete(ctx, nil))
	page, err = delta.WithUrl(*page.GetOdataDeltaLink()).GetAsDeltaGetResponse(ctx, nil)
	must("ask what changed", err)
	if !slices.ContainsFunc(page.GetValue(), func(i models.DriveItemable) bool {
		return *i.GetId() == *folder.GetId() && i.GetDeleted() != nil && i.GetFolder() != nil
	}) {
		t.Error("the delta does not tell that the folder is gone")
	}
	if _, err := item(*folder.GetId()).Get(ctx, nil); code(err) != "itemNotFound" {
		t.Errorf("what is gone answers %v", explain(err))
	}
	eventually(t, "the change is told", func(context.Context) bool {
		mu.Lock()
		defer mu.Unlock()
		return told
	})
	must("unsubscribe", all.BySubscriptionId(*subscription.GetId()).Delete(ctx, nil))
}
