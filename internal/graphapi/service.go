package graphapi

import (
	"net/http"

	"holdfast/internal/odata"
)

// serviceStatus is a serviceStatus. A server of one's own is enabled for good:
// there is no billing that could end it.
type serviceStatus struct {
	Status        string `json:"status"`
	DisableReason string `json:"disableReason"`
	Consumer      string `json:"backupServiceConsumer"`
}

// getService serves backupRestoreRoot.
func (s *Server) getService(x *exchange) (reply, error) {
	e := odata.Entity{Type: "backupRestoreRoot", Path: root}
	e.Add("serviceStatus", serviceStatus{"enabled", "none", "thirdparty"})
	f := x.form()
	body, err := f.Entity(f.Context(root, true), e)
	return reply{status: http.StatusOK, body: body, content: x.here()}, err
}
