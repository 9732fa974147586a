-- When a requisition was created and last changed, as in the other databases; null for what upstream wrote.

ALTER TABLE Requisitions ADD COLUMN IF NOT EXISTS CreationTime TIMESTAMP;

ALTER TABLE Requisitions ADD COLUMN IF NOT EXISTS UpdateTime TIMESTAMP;
