-- A unit and a browse session are of a workload, as a policy and a restore
-- session are already. All there is yet is of OneDrive.

-- +goose Up
ALTER TABLE unit ADD COLUMN workload TEXT NOT NULL DEFAULT 'oneDriveForBusiness';
ALTER TABLE browse_session ADD COLUMN workload TEXT NOT NULL DEFAULT 'oneDriveForBusiness';
