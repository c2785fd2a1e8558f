-- With an invitation goes the mail that would bring it, which is looked up by it.

CREATE INDEX mails_by_invitation ON mails (organization_id, invitation_id) WHERE invitation_id IS NOT NULL;
