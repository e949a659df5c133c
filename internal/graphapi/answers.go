package graphapi

import (
	"net/http"

	"holdfast/internal/backup"
)

// An answer is how a code reaches the wire.
type answer struct {
	status int
	code   backup.Code // its spelling there, if it differs
	retry  int         // seconds for Retry-After
}

// artifactsLimitOnUpdate is RestoreArtifactsLimitBreached where a session is
// updated: Microsoft documents another status there than where it is created.
const artifactsLimitOnUpdate backup.Code = "RestoreArtifactsLimitBreached (update)"

// answers is the one place that knows which status a failure has.
var answers = map[backup.Code]answer{
	backup.BadRequest:         {status: http.StatusBadRequest},
	backup.InvalidRequest:     {status: http.StatusBadRequest},
	backup.ItemNotFound:       {status: http.StatusNotFound},
	backup.NotAllowed:         {status: http.StatusMethodNotAllowed},
	backup.NotSupported:       {status: http.StatusNotImplemented},
	backup.NotAcceptable:      {status: http.StatusNotAcceptable, code: "notSupported"},
	backup.UnsupportedMedia:   {status: http.StatusUnsupportedMediaType, code: "invalidRequest"},
	backup.RequestTooLarge:    {status: http.StatusRequestEntityTooLarge, code: "invalidRequest"},
	backup.GeneralException:   {status: http.StatusInternalServerError},
	backup.ServiceUnavailable: {status: http.StatusServiceUnavailable, retry: 5},
	backup.TooManyRequests:    {status: http.StatusTooManyRequests, retry: 1},
	backup.FailedDependency:   {status: http.StatusFailedDependency},

	backup.InvalidAuthenticationToken: {status: http.StatusUnauthorized},
	backup.AuthorizationDenied:        {status: http.StatusForbidden},
	backup.AccessDenied:               {status: http.StatusForbidden},
	backup.OperationNotAllowed:        {status: http.StatusForbidden},
	backup.Forbidden:                  {status: http.StatusForbidden},
	backup.InvalidAppOwnerTenantID:    {status: http.StatusBadRequest},

	backup.InvalidCreateRequest:      {status: http.StatusBadRequest},
	backup.InvalidPatchRequest:       {status: http.StatusBadRequest},
	backup.InvalidDisplayName:        {status: http.StatusBadRequest},
	backup.InvalidPolicyID:           {status: http.StatusBadRequest},
	backup.PolicyNotFound:            {status: http.StatusNotFound},
	backup.PolicyActionNotAllowed:    {status: http.StatusForbidden},
	backup.PolicyCreationNotAllowed:  {status: http.StatusConflict},
	backup.PolicySaveFailed:          {status: http.StatusInternalServerError},
	backup.InvalidStateForActivation: {status: http.StatusBadRequest},

	backup.InvalidProtectionUnitID:       {status: http.StatusBadRequest},
	backup.ProtectionUnitNotFound:        {status: http.StatusNotFound},
	backup.ProtectionUnitAlreadyExists:   {status: http.StatusConflict},
	backup.ProtectionUnitsLimitBreached:  {status: http.StatusRequestEntityTooLarge},
	backup.ProtectionUnitActionForbidden: {status: http.StatusBadRequest},
	backup.DuplicateProtectionUnitInList: {status: http.StatusBadRequest},
	backup.FilterLengthExceeded:          {status: http.StatusBadRequest},

	backup.InvalidInclusionRuleID:      {status: http.StatusBadRequest},
	backup.InvalidRuleCreateRequest:    {status: http.StatusBadRequest},
	backup.InvalidRulePatchRequest:     {status: http.StatusBadRequest},
	backup.InvalidRuleExpression:       {status: http.StatusBadRequest},
	backup.RuleGroupLimitExceeded:      {status: http.StatusRequestEntityTooLarge},
	backup.ProtectionRuleNotFound:      {status: http.StatusNotFound},
	backup.PatchOfStaticRule:           {status: http.StatusBadRequest},
	backup.RuleStatusForUpdate:         {status: http.StatusBadRequest},
	backup.RuleStatusForDeletion:       {status: http.StatusBadRequest},
	backup.DynamicRuleStatusForEdit:    {status: http.StatusUnprocessableEntity},
	backup.DynamicRuleStatusForDelete:  {status: http.StatusUnprocessableEntity},
	backup.DynamicRuleStatusForRelease: {status: http.StatusUnprocessableEntity},
	backup.RuleActionNotAllowed:        {status: http.StatusBadRequest},
	backup.RunOfDynamicRule:            {status: http.StatusBadRequest},

	backup.InvalidSearchRequest:           {status: http.StatusBadRequest},
	backup.InvalidRestorePoint:            {status: http.StatusBadRequest},
	backup.InvalidRestoreSessionID:        {status: http.StatusBadRequest},
	backup.RestoreSessionNotFound:         {status: http.StatusNotFound},
	backup.RestoreSessionActionNotAllowed: {status: http.StatusForbidden},
	backup.ApprovalNotWaiting:             {status: http.StatusConflict},
	backup.InvalidPathType:                {status: http.StatusBadRequest},
	backup.InvalidArtifactRequest:         {status: http.StatusBadRequest},
	backup.DifferentRestoreDestination:    {status: http.StatusBadRequest},
	backup.DuplicateArtifactInList:        {status: http.StatusBadRequest},
	backup.RestoreArtifactsLimitBreached:  {status: http.StatusRequestEntityTooLarge},
	artifactsLimitOnUpdate:                {status: http.StatusBadRequest, code: backup.RestoreArtifactsLimitBreached},
	backup.TooManyActiveRestoreSessions:   {status: http.StatusInternalServerError, retry: 60},
	backup.IncompleteArtifactDeletion:     {status: http.StatusInternalServerError},
	backup.ArtifactNotFound:               {status: http.StatusNotFound},

	backup.InvalidBulkRestoreArtifactID: {status: http.StatusBadRequest},
	backup.BulkRestoreInvalidCreate:     {status: http.StatusBadRequest},
	backup.BulkRestoreTooManyEntries:    {status: http.StatusBadRequest},
	backup.BulkRestoreInvalidSiteURL:    {status: http.StatusBadRequest},
	backup.BulkRestoreInvalidEmail:      {status: http.StatusBadRequest},
	backup.BulkRestoreArtifactsNotFound: {status: http.StatusNotFound},
	backup.InvalidBulkRequestDeletion:   {status: http.StatusForbidden},
}
