package graphapi

import (
	"encoding/json"
	"net/http"
)

const batchPath = "/v1.0/$batch"

// outside is the routes that belong to the version as a whole and not to the
// API, so that no permission is theirs. Their paths are whole.
func outside() []route {
	return []route{
		{method: "GET", path: "/v1.0", access: anybody, handle: (*Server).getServiceDocument},
		{method: "GET", path: "/v1.0/$metadata", access: anybody, handle: (*Server).getMetadata},
		{method: "POST", path: batchPath, access: anyToken, handle: (*Server).batch, body: requiredBody, limit: bulkBodyLimit},
	}
}

// getServiceDocument says where the API hangs.
func (s *Server) getServiceDocument(x *exchange) (reply, error) {
	type set struct {
		Name string `json:"name"`
		Kind string `json:"kind"`
		URL  string `json:"url"`
	}
	body, err := json.Marshal(struct {
		Context string `json:"@odata.context"`
		Value   []set  `json:"value"`
	}{x.base + "/$metadata", []set{{"solutions", "Singleton", "solutions"}}})
	return reply{status: http.StatusOK, body: body}, err
}

// getMetadata describes what is served.
func (s *Server) getMetadata(x *exchange) (reply, error) {
	return reply{status: http.StatusOK, body: s.metadata, media: "application/xml"}, nil
}
