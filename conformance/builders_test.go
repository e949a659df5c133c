package conformance

import (
	"context"
	"errors"
	"flag"
	"maps"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	abstractions "github.com/microsoft/kiota-abstractions-go"
	"github.com/microsoft/kiota-abstractions-go/serialization"
	"github.com/microsoftgraph/msgraph-sdk-go/models/odataerrors"
)

var update = flag.Bool("update", false, "rewrite the list of what SDKs have builders for and the API does not document")

// unserved is the file of that list.
const unserved = "testdata/unserved.txt"

// A recorder is an adapter that remembers which calls the API knew, each by its
// method and the template of its address.
type recorder struct{ abstractions.RequestAdapter }

// told are the calls of all stories.
var told struct {
	sync.Mutex
	calls map[string]bool
}

// callOf names a call.
func callOf(method, template string) string {
	path, _, _ := strings.Cut(template, "{?")
	return method + " " + strings.TrimPrefix(path, "{+baseurl}/solutions/")
}

func (a *recorder) note(info *abstractions.RequestInformation, err error) {
	if isUnserved(err) {
		return
	}
	told.Lock()
	defer told.Unlock()
	if told.calls == nil {
		told.calls = map[string]bool{}
	}
	told.calls[callOf(info.Method.String(), info.UrlTemplate)] = true
}

func (a *recorder) Send(ctx context.Context, info *abstractions.RequestInformation, constructor serialization.ParsableFactory, errors abstractions.ErrorMappings) (serialization.Parsable, error) {
	v, err := a.RequestAdapter.Send(ctx, info, constructor, errors)
	a.note(info, err)
	return v, err
}

func (a *recorder) SendPrimitive(ctx context.Context, info *abstractions.RequestInformation, typ string, errors abstractions.ErrorMappings) (any, error) {
	v, err := a.RequestAdapter.SendPrimitive(ctx, info, typ, errors)
	a.note(info, err)
	return v, err
}

func (a *recorder) SendNoContent(ctx context.Context, info *abstractions.RequestInformation, errors abstractions.ErrorMappings) error {
	err := a.RequestAdapter.SendNoContent(ctx, info, errors)
	a.note(info, err)
	return err
}

// A sweep walks all builders of the SDK below one, through what there is: the ids
// of each set are those that its list shows.
type sweep struct {
	t       *testing.T
	told    map[string]bool     // the calls of the stories
	known   map[string][]string // ids that no list shows, by the method that takes them
	refused map[string]error    // by call: why it was not answered, the last time
}

// maxTries is of how many things of a set a sweep looks at what is below them.
const maxTries = 25

// builder has the SDK's calls tried that b and those below it make, and reports
// whether each that reads was answered.
func (s *sweep) builder(b any) bool {
	v := reflect.ValueOf(b)
	base := v.Elem().FieldByName("BaseRequestBuilder").Interface().(abstractions.BaseRequestBuilder)
	well, ids := true, []string{}
	for i := range v.NumMethod() {
		m := v.Type().Method(i)
		verb := strings.ToUpper(m.Name)
		switch verb {
		case "GET":
			out := v.Method(i).Call([]reflect.Value{reflect.ValueOf(s.t.Context()), reflect.Zero(m.Type.In(2))})
			err, _ := out[1].Interface().(error)
			well = s.note(callOf(verb, base.UrlTemplate), err) && well
			if list := out[0].MethodByName; err == nil && list("GetValue").IsValid() {
				for _, item := range list("GetValue").Call(nil)[0].Seq2() {
					if item.MethodByName("GetId").IsValid() {
						ids = append(ids, item.MethodByName("GetId").Call(nil)[0].Elem().String())
					}
				}
			}
		case "POST", "PATCH", "PUT", "DELETE":
			call := callOf(verb, base.UrlTemplate)
			if s.told[call] {
				s.refused[call] = nil
				continue
			}
			method := map[string]abstractions.HttpMethod{"POST": abstractions.POST, "PATCH": abstractions.PATCH, "PUT": abstractions.PUT, "DELETE": abstractions.DELETE}[verb]
			info := abstractions.NewRequestInformationWithMethodAndUrlTemplateAndPathParameters(method, base.UrlTemplate, base.PathParameters)
			info.SetStreamContentAndContentType([]byte("{}"), "application/json")
			err := base.RequestAdapter.SendNoContent(s.t.Context(), info, abstractions.ErrorMappings{
				"XXX": odataerrors.CreateODataErrorFromDiscriminatorValue,
			})
			if err == nil {
				err = errors.New("it was answered")
			}
			s.note(call, err)
		}
	}
	for i := range v.NumMethod() {
		m := v.Type().Method(i)
		if m.Name == "WithUrl" || m.Type.NumOut() != 1 || !strings.HasSuffix(m.Type.Out(0).String(), "RequestBuilder") {
			continue
		}
		if m.Type.NumIn() == 1 {
			well = s.builder(v.Method(i).Call(nil)[0].Interface()) && well
			continue
		}
		below := append(slices.Clone(s.known[m.Name]), ids...)
		if len(below) == 0 {
			below = []string{"00000000-0000-4000-8000-000000000000"}
		}
		well = slices.ContainsFunc(below[:min(len(below), maxTries)], func(id string) bool {
			return s.builder(v.Method(i).Call([]reflect.Value{reflect.ValueOf(id)})[0].Interface())
		}) && well
	}
	return well
}

// note keeps why a call was not answered, and reports whether it was or never will.
func (s *sweep) note(call string, err error) bool {
	if was, seen := s.refused[call]; !seen || was != nil {
		s.refused[call] = err
	}
	return err == nil || isUnserved(err)
}

// isUnserved reports whether err says that there is no such operation.
func isUnserved(err error) bool {
	refusal, ok := errors.AsType[*odataerrors.ODataError](err)
	return ok && (refusal.ResponseStatusCode == http.StatusMethodNotAllowed ||
		strings.HasSuffix(explain(err).Error(), "There is no resource at this address."))
}

// everyBuilder has each builder that the SDK has for the API called: what reads, by
// itself; what writes must have been called by a story. What the API documents no
// operation for must be refused as such, and is in a list.
func everyBuilder(t *testing.T) {
	root, _ := backupRestore(t, asUser("User1@contoso.com"))
	s := &sweep{t: t, told: maps.Clone(told.calls), known: map[string][]string{"ByRestorePointId": pointsSeen}, refused: map[string]error{}}
	s.builder(root)
	var none []string
	for call, err := range s.refused {
		switch {
		case err == nil || s.told[call]: // answered now, or called by a story
		case isUnserved(err):
			none = append(none, call)
		default:
			t.Errorf("%s: no story calls it, and it is not refused as unknown: %v", call, explain(err))
		}
	}
	slices.Sort(none)
	got := strings.Join(none, "\n") + "\n"
	if *update {
		if err := os.WriteFile(unserved, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(unserved)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("refused as unknown are\n%swant those of %s (-update rewrites it)", got, unserved)
	}
	t.Logf("%d calls of %d are answered", len(s.refused)-len(none), len(s.refused))
}
