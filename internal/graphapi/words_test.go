package graphapi

// The words of OneDrive, as Microsoft's pages have them.
const (
	drivePolicySet  = "oneDriveForBusinessProtectionPolicies"
	driveUnitSet    = "driveProtectionUnits"
	bulkJobSet      = "driveProtectionUnitsBulkAdditionJobs"
	ruleSet         = "driveInclusionRules"
	driveSessionSet = "oneDriveForBusinessRestoreSessions"
	artifactSet     = "driveRestoreArtifacts"
	granularSet     = "granularDriveRestoreArtifacts"
	bulkRestoreSet  = "driveRestoreArtifactsBulkAdditionRequests"
	driveBrowseSet  = "oneDriveForBusinessBrowseSessions"

	unitDelta     = "driveProtectionUnits@delta"
	artifactDelta = "driveRestoreArtifacts@delta"
	granularDelta = "granularDriveRestoreArtifacts@delta"

	drivePolicy   = "oneDriveForBusinessProtectionPolicy"
	driveUnit     = "driveProtectionUnit"
	driveRule     = "driveProtectionRule"
	driveSession  = "oneDriveForBusinessRestoreSession"
	driveArtifact = "driveRestoreArtifact"
	driveGranular = "granularDriveRestoreArtifact"
	driveBulk     = "driveRestoreArtifactsBulkAdditionRequest"
	driveBulkJob  = "driveProtectionUnitsBulkAdditionJob"
	driveBrowse   = "oneDriveForBusinessBrowseSession"
)
