package graphapi

import (
	"encoding/json"
	"net/http"
)

const batchPath = "/$batch" // of either version

// outside is the routes that belong to the version as a whole and not to the
// API, so that no permission is theirs. Their paths are whole.
func outside() []route {
	var all []route
	for _, version := range versions {
		all = append(all,
			route{method: "GET", path: version, access: anybody, handle: (*Server).getServiceDocument},
			route{method: "GET", path: version + "/$metadata", access: anybody, handle: (*Server).getMetadata},
			route{method: "POST", path: version + batchPath, access: anyToken, handle: (*Server).batch, body: requiredBody, limit: bulkBodyLimit})
	}
	return all
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
	return reply{status: http.StatusOK, body: s.metadata[x.route.version()], media: "application/xml"}, nil
}
