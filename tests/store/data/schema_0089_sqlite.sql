CREATE TABLE accounts (
    id INTEGER NOT NULL,
    name TEXT NOT NULL,
    display_name TEXT NOT NULL,
    status TEXT NOT NULL,
    password TEXT,
    password_changed_at BIGINT NOT NULL,
    certificate_sha256 TEXT,
    oidc_issuer TEXT,
    oidc_subject TEXT,
    language TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    CONSTRAINT pk_accounts PRIMARY KEY (id),
    CONSTRAINT ck_accounts_status CHECK (status IN ('ACTIVE', 'SUSPENDED')),
    CONSTRAINT uq_accounts_name UNIQUE (name),
    CONSTRAINT uq_accounts_certificate_sha256 UNIQUE (certificate_sha256),
    CONSTRAINT uq_accounts_oidc_issuer UNIQUE (oidc_issuer, oidc_subject)
);
CREATE TABLE agreements (
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    source BLOB NOT NULL,
    sha256 TEXT NOT NULL,
    valid_from BIGINT,
    valid_until BIGINT,
    status TEXT NOT NULL,
    loaded_at BIGINT NOT NULL,
    loaded_by TEXT NOT NULL,
    overrides TEXT,
    successors TEXT,
    CONSTRAINT pk_agreements PRIMARY KEY (id),
    CONSTRAINT ck_agreements_kind CHECK (kind IN ('cpa', 'pmode')),
    CONSTRAINT ck_agreements_status CHECK (status IN ('ACTIVE', 'SUSPENDED', 'RETIRED'))
);
CREATE TABLE api_assertions (
    jti_sha256 TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    CONSTRAINT pk_api_assertions PRIMARY KEY (jti_sha256)
);
CREATE INDEX ix_api_assertions_expires_at ON api_assertions (expires_at);
CREATE TABLE audit (
    id INTEGER NOT NULL,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    role TEXT NOT NULL,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    outcome TEXT NOT NULL,
    remote TEXT,
    "before" TEXT,
    "after" TEXT,
    account TEXT,
    reason TEXT,
    CONSTRAINT pk_audit PRIMARY KEY (id)
);
CREATE INDEX ix_audit_at ON audit (at);
CREATE TABLE calendar_editions (
    id INTEGER NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    edition TEXT NOT NULL,
    valid_from TEXT NOT NULL,
    valid_until TEXT,
    row_count BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    content BLOB NOT NULL,
    loaded_at BIGINT NOT NULL,
    loaded_by TEXT NOT NULL,
    CONSTRAINT pk_calendar_editions PRIMARY KEY (id),
    CONSTRAINT ck_calendar_editions_kind CHECK (kind IN ('calendar', 'terms')),
    CONSTRAINT uq_calendar_editions_kind UNIQUE (kind, name, edition)
);
CREATE TABLE console_switches (
    agency TEXT NOT NULL,
    since BIGINT NOT NULL,
    switched_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    CONSTRAINT pk_console_switches PRIMARY KEY (agency)
);
CREATE TABLE conversation_counts (
    agreement_id TEXT NOT NULL,
    begun BIGINT NOT NULL,
    CONSTRAINT pk_conversation_counts PRIMARY KEY (agreement_id)
);
CREATE TABLE conversations (
    id INTEGER NOT NULL,
    agreement_id TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    begun_at BIGINT NOT NULL,
    ended_at BIGINT,
    CONSTRAINT pk_conversations PRIMARY KEY (id),
    CONSTRAINT uq_conversations_agreement_id UNIQUE (agreement_id, conversation_id)
);
CREATE INDEX ix_conversations_open ON conversations (agreement_id, id) WHERE ended_at IS NULL;
CREATE TABLE counted_outcomes (
    machine TEXT NOT NULL,
    object_id BIGINT NOT NULL,
    day DATE NOT NULL,
    outcome TEXT NOT NULL,
    seconds BIGINT NOT NULL,
    first_right BOOLEAN NOT NULL,
    CONSTRAINT pk_counted_outcomes PRIMARY KEY (machine, object_id)
);
CREATE TABLE daily_statistics (
    party TEXT NOT NULL,
    measure TEXT NOT NULL,
    day DATE NOT NULL,
    agency TEXT NOT NULL,
    document TEXT NOT NULL,
    state TEXT NOT NULL,
    outcome TEXT NOT NULL,
    problem TEXT NOT NULL,
    band INTEGER NOT NULL,
    number BIGINT NOT NULL,
    seconds BIGINT NOT NULL,
    CONSTRAINT pk_daily_statistics PRIMARY KEY (party, measure, day, agency, document, state, outcome, problem, band)
);
CREATE INDEX ix_daily_statistics_agency ON daily_statistics (agency, party, measure, day);
CREATE TABLE epochs (
    name TEXT NOT NULL,
    value BIGINT NOT NULL,
    CONSTRAINT pk_epochs PRIMARY KEY (name)
);
CREATE TABLE event_readers (
    party TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    case_id BIGINT NOT NULL,
    CONSTRAINT pk_event_readers PRIMARY KEY (party, sequence)
) WITHOUT ROWID;
CREATE TABLE events (
    id INTEGER NOT NULL,
    at BIGINT NOT NULL,
    subject_type TEXT NOT NULL,
    subject_id BIGINT NOT NULL,
    state TEXT NOT NULL,
    sequence BIGINT,
    CONSTRAINT pk_events PRIMARY KEY (id),
    CONSTRAINT ck_events_subject_type CHECK (subject_type IN ('case', 'request', 'notice', 'message', 'requirement')),
    CONSTRAINT uq_events_sequence UNIQUE (sequence)
);
CREATE TABLE evidence (
    id INTEGER NOT NULL,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    subject_type TEXT NOT NULL,
    subject_id TEXT NOT NULL,
    digest TEXT,
    leaf_hash TEXT NOT NULL,
    data TEXT NOT NULL,
    seq BIGINT,
    CONSTRAINT pk_evidence PRIMARY KEY (id)
);
CREATE INDEX ix_evidence_subject ON evidence (subject_type, subject_id);
CREATE INDEX ix_evidence_unsealed ON evidence (id) WHERE seq < 0;
CREATE UNIQUE INDEX uq_evidence_seq ON evidence (seq) WHERE seq IS NOT NULL;
CREATE TABLE fetch_sources (
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    url TEXT NOT NULL,
    fetched_at BIGINT,
    etag TEXT,
    failed_at BIGINT,
    failures INTEGER NOT NULL,
    given_up BIGINT,
    problem TEXT,
    detail TEXT,
    CONSTRAINT pk_fetch_sources PRIMARY KEY (name)
);
CREATE TABLE lanes (
    name TEXT NOT NULL,
    capacity INTEGER,
    open_until BIGINT,
    last_problem TEXT,
    held_at BIGINT,
    held_by TEXT,
    hold_reason TEXT,
    pulled BOOLEAN DEFAULT 0 NOT NULL,
    CONSTRAINT pk_lanes PRIMARY KEY (name),
    CONSTRAINT ck_lanes_capacity CHECK (capacity > 0)
);
CREATE TABLE mapping_bundles (
    digest TEXT NOT NULL,
    content BLOB NOT NULL,
    loaded_at BIGINT NOT NULL,
    CONSTRAINT pk_mapping_bundles PRIMARY KEY (digest)
);
CREATE TABLE messages (
    id INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    direction TEXT NOT NULL,
    protocol TEXT NOT NULL,
    kind TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    ref_to_message_id TEXT,
    from_party TEXT NOT NULL,
    to_party TEXT NOT NULL,
    service TEXT NOT NULL,
    action TEXT NOT NULL,
    pmode_id TEXT,
    signer_sha256 TEXT,
    identity_sha256 TEXT NOT NULL,
    state TEXT NOT NULL,
    problem TEXT,
    received_at BIGINT NOT NULL,
    expires_at BIGINT,
    case_id BIGINT,
    parcel_headers TEXT NOT NULL,
    parcel_sha256 TEXT NOT NULL,
    answer_status INTEGER,
    answer_headers TEXT,
    answer_sha256 TEXT,
    answer_body BLOB,
    parcel BLOB,
    agreement_id TEXT,
    purged_at BIGINT,
    CONSTRAINT pk_messages PRIMARY KEY (id),
    CONSTRAINT ck_messages_direction CHECK (direction IN ('in', 'out')),
    CONSTRAINT ck_messages_state CHECK (state IN ('RECEIVED', 'ACCEPTED', 'FAILED', 'DUPLICATE', 'REFUSED', 'PROCESSED')),
    CONSTRAINT uq_messages_message_id UNIQUE (message_id, from_party, direction)
);
CREATE INDEX ix_messages_case_id ON messages (case_id) WHERE case_id IS NOT NULL;
CREATE INDEX ix_messages_parcel_sha256 ON messages (parcel_sha256) WHERE parcel IS NULL;
CREATE INDEX ix_messages_problem ON messages (problem, id) WHERE problem IS NOT NULL;
CREATE INDEX ix_messages_received_at ON messages (received_at, id);
CREATE INDEX ix_messages_receiver ON messages (to_party, id) WHERE direction = 'out';
CREATE INDEX ix_messages_sender ON messages (from_party, id) WHERE direction = 'in';
CREATE INDEX ix_messages_stopped ON messages (state, id) WHERE state = 'RECEIVED' OR state = 'FAILED' OR state = 'REFUSED';
CREATE INDEX ix_messages_unpurged ON messages (received_at, id) WHERE purged_at IS NULL AND case_id IS NULL;
CREATE TABLE need_tables (
    id INTEGER NOT NULL,
    name TEXT NOT NULL,
    edition TEXT NOT NULL,
    valid_from TEXT NOT NULL,
    valid_until TEXT,
    row_count BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    content BLOB NOT NULL,
    loaded_at BIGINT NOT NULL,
    loaded_by TEXT NOT NULL,
    CONSTRAINT pk_need_tables PRIMARY KEY (id),
    CONSTRAINT uq_need_tables_name UNIQUE (name, edition)
);
CREATE TABLE nodes (
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    schema_revision TEXT NOT NULL,
    seen_at BIGINT NOT NULL,
    drained_at BIGINT,
    drained_by TEXT,
    drain_reason TEXT,
    CONSTRAINT pk_nodes PRIMARY KEY (name)
);
CREATE TABLE oidc_sign_ins (
    state_sha256 TEXT NOT NULL,
    browser_sha256 TEXT NOT NULL,
    nonce TEXT NOT NULL,
    verifier TEXT NOT NULL,
    return_path TEXT NOT NULL,
    network TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    kept_form TEXT,
    CONSTRAINT pk_oidc_sign_ins PRIMARY KEY (state_sha256)
);
CREATE INDEX ix_oidc_sign_ins_expires_at ON oidc_sign_ins (expires_at);
CREATE INDEX ix_oidc_sign_ins_network ON oidc_sign_ins (network, expires_at);
CREATE TABLE parties (
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    CONSTRAINT pk_parties PRIMARY KEY (id),
    CONSTRAINT ck_parties_status CHECK (status IN ('ACTIVE', 'SUSPENDED', 'RETIRED'))
);
CREATE TABLE payloads (
    sha256 TEXT NOT NULL,
    size BIGINT NOT NULL,
    stored_at BIGINT NOT NULL,
    content BLOB NOT NULL,
    purged_at BIGINT,
    stored_in TEXT,
    CONSTRAINT pk_payloads PRIMARY KEY (sha256)
);
CREATE INDEX ix_payloads_objects ON payloads (sha256) WHERE stored_in IS NOT NULL;
CREATE TABLE pull_requests (
    digest TEXT NOT NULL,
    seen_at BIGINT NOT NULL,
    CONSTRAINT pk_pull_requests PRIMARY KEY (digest)
);
CREATE INDEX ix_pull_requests_seen_at ON pull_requests (seen_at);
CREATE TABLE refusals (
    sender TEXT NOT NULL,
    problem TEXT NOT NULL,
    number BIGINT NOT NULL,
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    last_sentence TEXT NOT NULL,
    CONSTRAINT pk_refusals PRIMARY KEY (sender, problem)
);
CREATE TABLE requirements (
    id INTEGER NOT NULL,
    number TEXT NOT NULL,
    agency TEXT NOT NULL,
    holder TEXT NOT NULL,
    used TEXT NOT NULL,
    quantity TEXT,
    unit TEXT,
    valid_until DATE,
    registered_at BIGINT,
    revoked_at BIGINT,
    added_at BIGINT NOT NULL,
    laws TEXT,
    applied_since BIGINT,
    CONSTRAINT pk_requirements PRIMARY KEY (id),
    CONSTRAINT uq_requirements_number UNIQUE (number, agency)
);
CREATE TABLE revocations (
    issuer_key_sha256 TEXT NOT NULL,
    crl_number TEXT NOT NULL,
    this_update BIGINT NOT NULL,
    next_update BIGINT,
    der BLOB NOT NULL,
    fetched_at BIGINT NOT NULL,
    CONSTRAINT pk_revocations PRIMARY KEY (issuer_key_sha256, crl_number)
);
CREATE TABLE schema_floor (
    oldest_code TEXT NOT NULL,
    CONSTRAINT pk_schema_floor PRIMARY KEY (oldest_code)
);
CREATE TABLE seals (
    id INTEGER NOT NULL,
    first_seq BIGINT NOT NULL,
    last_seq BIGINT NOT NULL,
    root_hash TEXT NOT NULL,
    peaks TEXT NOT NULL,
    head TEXT NOT NULL,
    signature BLOB,
    certificate BLOB,
    sealed_at BIGINT NOT NULL,
    CONSTRAINT pk_seals PRIMARY KEY (id),
    CONSTRAINT ck_seals_span CHECK (last_seq >= first_seq),
    CONSTRAINT uq_seals_first_seq UNIQUE (first_seq)
);
CREATE TABLE seen_calls (
    signature TEXT NOT NULL,
    party TEXT NOT NULL,
    message_id TEXT NOT NULL,
    content TEXT NOT NULL,
    seen_at BIGINT NOT NULL,
    CONSTRAINT pk_seen_calls PRIMARY KEY (signature)
);
CREATE INDEX ix_seen_calls_message_id ON seen_calls (message_id, party);
CREATE INDEX ix_seen_calls_seen_at ON seen_calls (seen_at);
CREATE TABLE sign_ins (
    id INTEGER NOT NULL,
    name_sha256 TEXT NOT NULL,
    network TEXT NOT NULL,
    good BOOLEAN NOT NULL,
    at BIGINT NOT NULL,
    CONSTRAINT pk_sign_ins PRIMARY KEY (id)
);
CREATE INDEX ix_sign_ins_age ON sign_ins (at, good);
CREATE INDEX ix_sign_ins_name ON sign_ins (name_sha256, at);
CREATE INDEX ix_sign_ins_network ON sign_ins (network, at);
CREATE TABLE state_changes (
    id INTEGER NOT NULL,
    measure TEXT NOT NULL,
    label TEXT NOT NULL,
    state TEXT NOT NULL,
    number INTEGER NOT NULL,
    CONSTRAINT pk_state_changes PRIMARY KEY (id)
);
CREATE TABLE state_totals (
    measure TEXT NOT NULL,
    label TEXT NOT NULL,
    state TEXT NOT NULL,
    number BIGINT NOT NULL,
    CONSTRAINT pk_state_totals PRIMARY KEY (measure, label, state)
);
CREATE TABLE statistics_progress (
    name TEXT NOT NULL,
    transition BIGINT NOT NULL,
    ceiling BIGINT NOT NULL,
    horizon BIGINT NOT NULL,
    counted_until BIGINT,
    CONSTRAINT pk_statistics_progress PRIMARY KEY (name)
);
CREATE TABLE status_notices (
    id INTEGER NOT NULL,
    kind TEXT NOT NULL,
    title_en TEXT NOT NULL,
    title_ko TEXT NOT NULL,
    text_en TEXT NOT NULL,
    text_ko TEXT NOT NULL,
    starts_at BIGINT NOT NULL,
    ends_at BIGINT,
    published_at BIGINT NOT NULL,
    published_by TEXT NOT NULL,
    changed_at BIGINT NOT NULL,
    CONSTRAINT pk_status_notices PRIMARY KEY (id),
    CONSTRAINT ck_status_notices_kind CHECK (kind IN ('incident', 'planned'))
);
CREATE INDEX ix_status_notices_ends_at ON status_notices (ends_at);
CREATE TABLE transitions (
    id INTEGER NOT NULL,
    machine TEXT NOT NULL,
    object_id BIGINT NOT NULL,
    from_state TEXT NOT NULL,
    event TEXT NOT NULL,
    to_state TEXT NOT NULL,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    detail TEXT,
    CONSTRAINT pk_transitions PRIMARY KEY (id)
);
CREATE INDEX ix_transitions_object ON transitions (machine, object_id);
CREATE TABLE trust_lists (
    id INTEGER NOT NULL,
    form TEXT NOT NULL,
    territory TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    signer BLOB NOT NULL,
    issued BIGINT NOT NULL,
    next_update BIGINT,
    content BLOB NOT NULL,
    named_by TEXT,
    taken_at BIGINT NOT NULL,
    taken_by TEXT NOT NULL,
    CONSTRAINT pk_trust_lists PRIMARY KEY (id),
    CONSTRAINT ck_trust_lists_form CHECK (form IN ('own', 'etsi'))
);
CREATE TABLE account_certificates (
    sha256 TEXT NOT NULL,
    account_id BIGINT NOT NULL,
    subject TEXT NOT NULL,
    not_after BIGINT NOT NULL,
    der BLOB NOT NULL,
    added_at BIGINT NOT NULL,
    CONSTRAINT pk_account_certificates PRIMARY KEY (sha256),
    CONSTRAINT fk_account_certificates_account_id FOREIGN KEY(account_id) REFERENCES accounts (id),
    CONSTRAINT uq_account_certificates_account_id UNIQUE (account_id)
);
CREATE TABLE account_invitations (
    token_sha256 TEXT NOT NULL,
    account_id BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    CONSTRAINT pk_account_invitations PRIMARY KEY (token_sha256),
    CONSTRAINT fk_account_invitations_account_id FOREIGN KEY(account_id) REFERENCES accounts (id)
);
CREATE INDEX ix_account_invitations_account_id ON account_invitations (account_id);
CREATE INDEX ix_account_invitations_expires_at ON account_invitations (expires_at);
CREATE TABLE account_roles (
    account_id BIGINT NOT NULL,
    kind TEXT NOT NULL,
    organisation TEXT NOT NULL,
    role TEXT NOT NULL,
    CONSTRAINT pk_account_roles PRIMARY KEY (account_id, kind, organisation, role),
    CONSTRAINT ck_account_roles_kind CHECK (kind IN ('agency', 'party', 'operator')),
    CONSTRAINT fk_account_roles_account_id FOREIGN KEY(account_id) REFERENCES accounts (id)
);
CREATE INDEX ix_account_roles_organisation ON account_roles (kind, organisation);
CREATE TABLE api_tokens (
    token_sha256 TEXT NOT NULL,
    party_id TEXT NOT NULL,
    certificate_sha256 TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    CONSTRAINT pk_api_tokens PRIMARY KEY (token_sha256),
    CONSTRAINT fk_api_tokens_party_id FOREIGN KEY(party_id) REFERENCES parties (id)
);
CREATE INDEX ix_api_tokens_expires_at ON api_tokens (expires_at);
CREATE INDEX ix_api_tokens_party_id ON api_tokens (party_id, expires_at);
CREATE TABLE cases (
    id INTEGER NOT NULL,
    number TEXT NOT NULL,
    document TEXT NOT NULL,
    function TEXT NOT NULL,
    declarant TEXT NOT NULL,
    agent TEXT,
    applicant TEXT NOT NULL,
    functional_reference TEXT NOT NULL,
    version INTEGER NOT NULL,
    ucr TEXT,
    message BIGINT NOT NULL,
    state TEXT NOT NULL,
    outcome TEXT,
    detail TEXT,
    opened_at BIGINT NOT NULL,
    due_at BIGINT,
    closed_at BIGINT,
    purged_at BIGINT,
    CONSTRAINT pk_cases PRIMARY KEY (id),
    CONSTRAINT ck_cases_outcome CHECK (outcome IN ('APPROVED', 'PARTIAL', 'REJECTED', 'REFUSED', 'WITHDRAWN')),
    CONSTRAINT ck_cases_state CHECK (state IN ('OPENED', 'HELD', 'IN_PROGRESS', 'DECIDED', 'CLOSED', 'REFUSED', 'WITHDRAWN')),
    CONSTRAINT fk_cases_message FOREIGN KEY(message) REFERENCES messages (id),
    CONSTRAINT uq_cases_declarant UNIQUE (declarant, functional_reference, version),
    CONSTRAINT uq_cases_number UNIQUE (number)
);
CREATE INDEX ix_cases_applicant ON cases (applicant, state, id);
CREATE INDEX ix_cases_declarant ON cases (declarant, state, id);
CREATE INDEX ix_cases_functional_reference ON cases (functional_reference);
CREATE INDEX ix_cases_opened_at ON cases (opened_at);
CREATE INDEX ix_cases_state ON cases (state, id);
CREATE INDEX ix_cases_ucr ON cases (ucr) WHERE ucr IS NOT NULL;
CREATE INDEX ix_cases_unpurged ON cases (opened_at, id) WHERE purged_at IS NULL;
CREATE TABLE certificates (
    sha256 TEXT NOT NULL,
    use TEXT NOT NULL,
    party_id TEXT NOT NULL,
    subject TEXT NOT NULL,
    issuer TEXT NOT NULL,
    serial TEXT NOT NULL,
    not_before BIGINT NOT NULL,
    not_after BIGINT NOT NULL,
    status TEXT NOT NULL,
    der BLOB NOT NULL,
    added_at BIGINT NOT NULL,
    valid_from BIGINT,
    valid_until BIGINT,
    CONSTRAINT pk_certificates PRIMARY KEY (sha256, use),
    CONSTRAINT ck_certificates_status CHECK (status IN ('ACTIVE', 'RETIRED')),
    CONSTRAINT ck_certificates_use CHECK (use IN ('signing', 'encryption', 'tls')),
    CONSTRAINT fk_certificates_party_id FOREIGN KEY(party_id) REFERENCES parties (id)
);
CREATE INDEX ix_certificates_party_id ON certificates (party_id);
CREATE TABLE conversation_messages (
    message BIGINT NOT NULL,
    conversation BIGINT NOT NULL,
    CONSTRAINT pk_conversation_messages PRIMARY KEY (message),
    CONSTRAINT fk_conversation_messages_message FOREIGN KEY(message) REFERENCES messages (id),
    CONSTRAINT fk_conversation_messages_conversation FOREIGN KEY(conversation) REFERENCES conversations (id)
);
CREATE INDEX ix_conversation_messages_conversation ON conversation_messages (conversation, message);
CREATE TABLE fetched_lists (
    source TEXT NOT NULL,
    subject TEXT NOT NULL,
    kind TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    issuer TEXT NOT NULL,
    number TEXT,
    this_update BIGINT NOT NULL,
    next_update BIGINT NOT NULL,
    taken_at BIGINT NOT NULL,
    fetched_at BIGINT NOT NULL,
    CONSTRAINT pk_fetched_lists PRIMARY KEY (source, subject),
    CONSTRAINT fk_fetched_lists_source FOREIGN KEY(source) REFERENCES fetch_sources (name),
    CONSTRAINT fk_fetched_lists_sha256 FOREIGN KEY(sha256) REFERENCES payloads (sha256)
);
CREATE TABLE forwarding_rules (
    id INTEGER NOT NULL,
    to_value TEXT NOT NULL,
    to_type TEXT NOT NULL,
    service TEXT NOT NULL,
    action TEXT NOT NULL,
    next_party TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    senders TEXT NOT NULL,
    acknowledgment TEXT NOT NULL,
    sync_reply TEXT NOT NULL,
    retries INTEGER NOT NULL,
    retry_interval INTEGER NOT NULL,
    created_at BIGINT NOT NULL,
    CONSTRAINT pk_forwarding_rules PRIMARY KEY (id),
    CONSTRAINT fk_forwarding_rules_next_party FOREIGN KEY(next_party) REFERENCES parties (id),
    CONSTRAINT uq_forwarding_rules_to_value UNIQUE (to_value, to_type, service, action)
);
CREATE TABLE fragment_groups (
    id INTEGER NOT NULL,
    group_id TEXT NOT NULL,
    from_party TEXT NOT NULL,
    protocol TEXT NOT NULL,
    agreement_id TEXT NOT NULL,
    pmode_id TEXT NOT NULL,
    state TEXT NOT NULL,
    tally TEXT,
    opened_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ended_at BIGINT,
    problem TEXT,
    code TEXT,
    detail TEXT,
    message BIGINT,
    CONSTRAINT pk_fragment_groups PRIMARY KEY (id),
    CONSTRAINT ck_fragment_groups_state CHECK (state IN ('OPEN', 'COMPLETE', 'JOINED', 'REFUSED')),
    CONSTRAINT fk_fragment_groups_message FOREIGN KEY(message) REFERENCES messages (id),
    CONSTRAINT uq_fragment_groups_from_party UNIQUE (from_party, group_id)
);
CREATE INDEX ix_fragment_groups_message ON fragment_groups (message) WHERE message IS NOT NULL;
CREATE INDEX ix_fragment_groups_state ON fragment_groups (state, from_party) WHERE ended_at IS NULL;
CREATE TABLE mandates (
    id INTEGER NOT NULL,
    party_id TEXT NOT NULL,
    on_behalf_of TEXT NOT NULL,
    scope TEXT NOT NULL,
    valid_from BIGINT NOT NULL,
    valid_until BIGINT,
    revoked_at BIGINT,
    CONSTRAINT pk_mandates PRIMARY KEY (id),
    CONSTRAINT fk_mandates_on_behalf_of FOREIGN KEY(on_behalf_of) REFERENCES parties (id),
    CONSTRAINT fk_mandates_party_id FOREIGN KEY(party_id) REFERENCES parties (id)
);
CREATE INDEX ix_mandates_party_id ON mandates (party_id, on_behalf_of);
CREATE TABLE mapping_uses (
    id INTEGER NOT NULL,
    digest TEXT,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    starts BIGINT,
    cancels BIGINT,
    CONSTRAINT pk_mapping_uses PRIMARY KEY (id),
    CONSTRAINT fk_mapping_uses_digest_mapping_bundles FOREIGN KEY(digest) REFERENCES mapping_bundles (digest)
);
CREATE TABLE message_payloads (
    message BIGINT NOT NULL,
    position INTEGER NOT NULL,
    content_id TEXT NOT NULL,
    media_type TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    size BIGINT NOT NULL,
    parcel_offset BIGINT,
    properties TEXT NOT NULL,
    CONSTRAINT pk_message_payloads PRIMARY KEY (message, position),
    CONSTRAINT fk_message_payloads_message FOREIGN KEY(message) REFERENCES messages (id)
) WITHOUT ROWID;
CREATE INDEX ix_message_payloads_sha256 ON message_payloads (sha256) WHERE parcel_offset IS NULL;
CREATE TABLE operator_acts (
    id INTEGER NOT NULL,
    act TEXT NOT NULL,
    object TEXT NOT NULL,
    parameters TEXT NOT NULL,
    content BLOB,
    content_name TEXT,
    state TEXT NOT NULL,
    reason TEXT,
    proposed_by BIGINT NOT NULL,
    proposed_at BIGINT NOT NULL,
    decided_by BIGINT,
    decided_at BIGINT,
    decision_reason TEXT,
    outcome TEXT,
    CONSTRAINT pk_operator_acts PRIMARY KEY (id),
    CONSTRAINT ck_operator_acts_state CHECK (state IN ('DRAFT', 'PENDING', 'DONE', 'REJECTED', 'WITHDRAWN')),
    CONSTRAINT ck_operator_acts_decided CHECK (state <> 'DONE' OR decided_by IS NOT NULL),
    CONSTRAINT fk_operator_acts_proposed_by FOREIGN KEY(proposed_by) REFERENCES accounts (id),
    CONSTRAINT fk_operator_acts_decided_by FOREIGN KEY(decided_by) REFERENCES accounts (id)
);
CREATE INDEX ix_operator_acts_state ON operator_acts (state, id);
CREATE TABLE party_ids (
    type TEXT NOT NULL,
    value TEXT NOT NULL,
    party_id TEXT NOT NULL,
    CONSTRAINT pk_party_ids PRIMARY KEY (type, value),
    CONSTRAINT fk_party_ids_party_id FOREIGN KEY(party_id) REFERENCES parties (id)
);
CREATE TABLE passkeys (
    id INTEGER NOT NULL,
    account_id BIGINT NOT NULL,
    credential_id TEXT NOT NULL,
    public_key BLOB NOT NULL,
    sign_count BIGINT NOT NULL,
    name TEXT NOT NULL,
    backed_up BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    used_at BIGINT,
    CONSTRAINT pk_passkeys PRIMARY KEY (id),
    CONSTRAINT fk_passkeys_account_id FOREIGN KEY(account_id) REFERENCES accounts (id),
    CONSTRAINT uq_passkeys_credential_id UNIQUE (credential_id)
);
CREATE INDEX ix_passkeys_account_id ON passkeys (account_id);
CREATE TABLE pmodes (
    agreement_id TEXT NOT NULL,
    id TEXT NOT NULL,
    protocol TEXT NOT NULL,
    from_party TEXT NOT NULL,
    from_role TEXT,
    to_party TEXT NOT NULL,
    to_role TEXT,
    service TEXT NOT NULL,
    action TEXT NOT NULL,
    parameters TEXT NOT NULL,
    CONSTRAINT pk_pmodes PRIMARY KEY (agreement_id, id),
    CONSTRAINT fk_pmodes_agreement_id FOREIGN KEY(agreement_id) REFERENCES agreements (id)
);
CREATE INDEX ix_pmodes_parties ON pmodes (from_party, to_party);
CREATE TABLE requirement_results (
    id INTEGER NOT NULL,
    requirement_id BIGINT NOT NULL,
    agency TEXT NOT NULL,
    notice_no TEXT NOT NULL,
    item INTEGER NOT NULL,
    law TEXT NOT NULL,
    issued_at BIGINT NOT NULL,
    status_code TEXT NOT NULL,
    decision TEXT NOT NULL,
    date DATE,
    quantity TEXT,
    unit TEXT,
    conditions TEXT NOT NULL,
    notice_sha256 TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    said TEXT,
    CONSTRAINT pk_requirement_results PRIMARY KEY (id),
    CONSTRAINT fk_requirement_results_requirement_id FOREIGN KEY(requirement_id) REFERENCES requirements (id),
    CONSTRAINT uq_requirement_results_agency UNIQUE (agency, notice_no, item, law)
);
CREATE INDEX ix_requirement_results_requirement_id ON requirement_results (requirement_id, id);
CREATE TABLE sessions (
    id INTEGER NOT NULL,
    token_sha256 TEXT NOT NULL,
    account_id BIGINT NOT NULL,
    kind TEXT NOT NULL,
    organisation TEXT NOT NULL,
    method TEXT NOT NULL,
    network TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    ended_at BIGINT,
    notice TEXT,
    CONSTRAINT pk_sessions PRIMARY KEY (id),
    CONSTRAINT fk_sessions_account_id FOREIGN KEY(account_id) REFERENCES accounts (id),
    CONSTRAINT uq_sessions_token_sha256 UNIQUE (token_sha256)
);
CREATE INDEX ix_sessions_account ON sessions (account_id, created_at);
CREATE INDEX ix_sessions_created_at ON sessions (created_at);
CREATE TABLE submission_drafts (
    id INTEGER NOT NULL,
    party TEXT NOT NULL,
    reference TEXT NOT NULL,
    documents TEXT NOT NULL,
    content TEXT NOT NULL,
    version INTEGER NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    changed_at BIGINT NOT NULL,
    changed_by TEXT NOT NULL,
    message BIGINT,
    handed_in_at BIGINT,
    CONSTRAINT pk_submission_drafts PRIMARY KEY (id),
    CONSTRAINT fk_submission_drafts_message FOREIGN KEY(message) REFERENCES messages (id)
);
CREATE INDEX ix_submission_drafts_party ON submission_drafts (party, id);
CREATE TABLE time_stamps (
    id INTEGER NOT NULL,
    seal BIGINT NOT NULL,
    authority TEXT NOT NULL,
    at BIGINT NOT NULL,
    policy TEXT NOT NULL,
    serial TEXT NOT NULL,
    token BLOB NOT NULL,
    verdict TEXT,
    stored_at BIGINT NOT NULL,
    CONSTRAINT pk_time_stamps PRIMARY KEY (id),
    CONSTRAINT fk_time_stamps_seal FOREIGN KEY(seal) REFERENCES seals (id),
    CONSTRAINT uq_time_stamps_seal UNIQUE (seal, authority)
);
CREATE TABLE verdicts (
    id INTEGER NOT NULL,
    digest TEXT NOT NULL,
    leaf_sha256 TEXT NOT NULL,
    use TEXT NOT NULL,
    status TEXT NOT NULL,
    problem TEXT,
    tolerated BOOLEAN NOT NULL,
    judged_at BIGINT NOT NULL,
    valid_until BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    CONSTRAINT pk_verdicts PRIMARY KEY (id),
    CONSTRAINT ck_verdicts_status CHECK (status IN ('valid', 'invalid', 'indeterminate')),
    CONSTRAINT fk_verdicts_digest_payloads FOREIGN KEY(digest) REFERENCES payloads (sha256),
    CONSTRAINT uq_verdicts_digest UNIQUE (digest)
);
CREATE INDEX ix_verdicts_leaf_sha256 ON verdicts (leaf_sha256, use, judged_at);
CREATE TABLE webhooks (
    id INTEGER NOT NULL,
    name TEXT NOT NULL,
    party_id TEXT NOT NULL,
    url TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    failing_since BIGINT,
    last_good_at BIGINT,
    reason TEXT,
    CONSTRAINT pk_webhooks PRIMARY KEY (id),
    CONSTRAINT ck_webhooks_state CHECK (state IN ('ACTIVE', 'OFF', 'DELETED')),
    CONSTRAINT fk_webhooks_party_id FOREIGN KEY(party_id) REFERENCES parties (id),
    CONSTRAINT uq_webhooks_name UNIQUE (name)
);
CREATE INDEX ix_webhooks_party_id ON webhooks (party_id);
CREATE TABLE agency_requests (
    id INTEGER NOT NULL,
    case_id BIGINT NOT NULL,
    number TEXT NOT NULL,
    application TEXT NOT NULL,
    agency TEXT NOT NULL,
    document TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    mapping TEXT NOT NULL,
    mapping_version TEXT NOT NULL,
    mapping_sha256 TEXT NOT NULL,
    document_sha256 TEXT NOT NULL,
    required TEXT NOT NULL,
    state TEXT NOT NULL,
    status_code TEXT,
    receipt_number TEXT,
    decision TEXT,
    decided_by TEXT,
    decided_at BIGINT,
    reply_sha256 TEXT,
    due_at BIGINT,
    cancellation TEXT,
    outdated_decision BIGINT,
    removed TEXT,
    demands TEXT,
    demands_state TEXT,
    CONSTRAINT pk_agency_requests PRIMARY KEY (id),
    CONSTRAINT ck_agency_requests_state CHECK (state IN ('PREPARED', 'SENT', 'ACKNOWLEDGED', 'INFORMATION_REQUIRED', 'INSPECTION', 'FEE_DUE', 'STRANDED', 'DECIDED', 'CANCELLED')),
    CONSTRAINT fk_agency_requests_case_id FOREIGN KEY(case_id) REFERENCES cases (id),
    CONSTRAINT fk_agency_requests_document_sha256 FOREIGN KEY(document_sha256) REFERENCES payloads (sha256),
    CONSTRAINT fk_agency_requests_reply_sha256 FOREIGN KEY(reply_sha256) REFERENCES payloads (sha256),
    CONSTRAINT uq_agency_requests_case_id UNIQUE (case_id, agency, sequence),
    CONSTRAINT uq_agency_requests_number UNIQUE (number)
);
CREATE INDEX ix_agency_requests_agency ON agency_requests (agency, case_id);
CREATE INDEX ix_agency_requests_asked ON agency_requests (agency, id) WHERE cancellation = 'ASKED';
CREATE INDEX ix_agency_requests_decided ON agency_requests (agency, decided_at) WHERE decided_at IS NOT NULL;
CREATE INDEX ix_agency_requests_document_sha256 ON agency_requests (document_sha256);
CREATE INDEX ix_agency_requests_due ON agency_requests (agency, due_at, id) WHERE due_at IS NOT NULL AND state <> 'DECIDED' AND state <> 'CANCELLED';
CREATE INDEX ix_agency_requests_state ON agency_requests (agency, state, id);
CREATE TABLE awaited_requirements (
    id INTEGER NOT NULL,
    case_id BIGINT NOT NULL,
    number TEXT NOT NULL,
    item INTEGER NOT NULL,
    pointer TEXT NOT NULL,
    quantity TEXT NOT NULL,
    unit TEXT NOT NULL,
    awaited_at BIGINT NOT NULL,
    ended_at BIGINT,
    end_reason TEXT,
    agency TEXT,
    CONSTRAINT pk_awaited_requirements PRIMARY KEY (id),
    CONSTRAINT fk_awaited_requirements_case_id FOREIGN KEY(case_id) REFERENCES cases (id)
);
CREATE INDEX ix_awaited_requirements_case_id ON awaited_requirements (case_id, id);
CREATE INDEX ix_awaited_requirements_number ON awaited_requirements (number, case_id);
CREATE TABLE case_references (
    value TEXT NOT NULL,
    case_id BIGINT NOT NULL,
    kind TEXT NOT NULL,
    CONSTRAINT pk_case_references PRIMARY KEY (value, case_id, kind),
    CONSTRAINT fk_case_references_case_id FOREIGN KEY(case_id) REFERENCES cases (id)
);
CREATE TABLE clearances (
    id BIGINT NOT NULL,
    state TEXT NOT NULL,
    CONSTRAINT pk_clearances PRIMARY KEY (id),
    CONSTRAINT ck_clearances_state CHECK (state IN ('UNANSWERED', 'ACCEPTED', 'ERROR', 'CLEARED', 'NOT_CLEARED', 'CANCELLED')),
    CONSTRAINT fk_clearances_id FOREIGN KEY(id) REFERENCES cases (id)
);
CREATE TABLE customs_notices (
    id INTEGER NOT NULL,
    case_id BIGINT NOT NULL,
    number TEXT NOT NULL,
    code TEXT NOT NULL,
    kind TEXT NOT NULL,
    issued_at BIGINT NOT NULL,
    content TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    delivery_id BIGINT,
    received_at BIGINT NOT NULL,
    CONSTRAINT pk_customs_notices PRIMARY KEY (id),
    CONSTRAINT fk_customs_notices_case_id FOREIGN KEY(case_id) REFERENCES cases (id),
    CONSTRAINT uq_customs_notices_number UNIQUE (number)
);
CREATE INDEX ix_customs_notices_case_id ON customs_notices (case_id, id);
CREATE TABLE deliveries (
    id INTEGER NOT NULL,
    agent TEXT NOT NULL,
    destination TEXT NOT NULL,
    lane TEXT NOT NULL,
    subject_type TEXT NOT NULL,
    subject_id TEXT NOT NULL,
    case_id BIGINT,
    wire_id TEXT,
    payload_sha256 TEXT,
    parameters TEXT NOT NULL,
    state TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    due_at BIGINT NOT NULL,
    expires_at BIGINT,
    leased_by TEXT,
    lease_until BIGINT,
    problem TEXT,
    created_at BIGINT NOT NULL,
    finished_at BIGINT,
    follows BIGINT,
    dedupe_key TEXT NOT NULL,
    lost INTEGER DEFAULT '0' NOT NULL,
    last_sentence TEXT,
    CONSTRAINT pk_deliveries PRIMARY KEY (id),
    CONSTRAINT ck_deliveries_state CHECK (state IN ('QUEUED', 'ACTIVE', 'AWAITING_RECEIPT', 'HELD', 'FAILED', 'DELIVERED', 'CANCELLED')),
    CONSTRAINT fk_deliveries_case_id FOREIGN KEY(case_id) REFERENCES cases (id),
    CONSTRAINT fk_deliveries_follows FOREIGN KEY(follows) REFERENCES deliveries (id),
    CONSTRAINT fk_deliveries_lane FOREIGN KEY(lane) REFERENCES lanes (name),
    CONSTRAINT fk_deliveries_payload_sha256 FOREIGN KEY(payload_sha256) REFERENCES payloads (sha256),
    CONSTRAINT uq_deliveries_dedupe_key UNIQUE (dedupe_key)
);
CREATE INDEX ix_deliveries_awaiting ON deliveries (due_at) WHERE state = 'AWAITING_RECEIPT';
CREATE INDEX ix_deliveries_case_id ON deliveries (case_id) WHERE case_id IS NOT NULL;
CREATE INDEX ix_deliveries_done ON deliveries (lane, finished_at) WHERE state = 'DELIVERED';
CREATE INDEX ix_deliveries_due ON deliveries (lane, due_at, id) WHERE state = 'QUEUED';
CREATE INDEX ix_deliveries_leased ON deliveries (lane, lease_until) WHERE state = 'ACTIVE';
CREATE INDEX ix_deliveries_payload_sha256 ON deliveries (payload_sha256) WHERE payload_sha256 IS NOT NULL;
CREATE INDEX ix_deliveries_stopped ON deliveries (state, id) WHERE state = 'HELD' OR state = 'FAILED' OR state = 'CANCELLED';
CREATE INDEX ix_deliveries_suspect ON deliveries (due_at) WHERE state = 'QUEUED' AND lost > 0;
CREATE INDEX ix_deliveries_wire_id ON deliveries (wire_id) WHERE wire_id IS NOT NULL;
CREATE TABLE draft_files (
    id INTEGER NOT NULL,
    draft_id BIGINT NOT NULL,
    cid TEXT NOT NULL,
    name TEXT NOT NULL,
    media_type TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    size BIGINT NOT NULL,
    content BLOB NOT NULL,
    added_at BIGINT NOT NULL,
    added_by TEXT,
    CONSTRAINT pk_draft_files PRIMARY KEY (id),
    CONSTRAINT fk_draft_files_draft_id FOREIGN KEY(draft_id) REFERENCES submission_drafts (id),
    CONSTRAINT uq_draft_files_draft_id UNIQUE (draft_id, cid)
);
CREATE TABLE fragments (
    message BIGINT NOT NULL,
    "group" BIGINT NOT NULL,
    number INTEGER NOT NULL,
    CONSTRAINT pk_fragments PRIMARY KEY (message),
    CONSTRAINT fk_fragments_group FOREIGN KEY("group") REFERENCES fragment_groups (id),
    CONSTRAINT fk_fragments_message FOREIGN KEY(message) REFERENCES messages (id),
    CONSTRAINT uq_fragments_group UNIQUE ("group", number)
);
CREATE TABLE item_releases (
    id INTEGER NOT NULL,
    parent_id BIGINT NOT NULL,
    child_id BIGINT NOT NULL,
    item INTEGER NOT NULL,
    measure TEXT NOT NULL,
    quantity TEXT NOT NULL,
    unit TEXT NOT NULL,
    whole TEXT NOT NULL,
    whole_unit TEXT NOT NULL,
    released_at BIGINT NOT NULL,
    returned_at BIGINT,
    return_reason TEXT,
    CONSTRAINT pk_item_releases PRIMARY KEY (id),
    CONSTRAINT fk_item_releases_parent_id FOREIGN KEY(parent_id) REFERENCES cases (id),
    CONSTRAINT fk_item_releases_child_id FOREIGN KEY(child_id) REFERENCES cases (id)
);
CREATE INDEX ix_item_releases_child_id ON item_releases (child_id, id);
CREATE INDEX ix_item_releases_parent_id ON item_releases (parent_id, id);
CREATE TABLE passkey_challenges (
    id INTEGER NOT NULL,
    purpose TEXT NOT NULL,
    challenge TEXT NOT NULL,
    session_id BIGINT,
    network TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    CONSTRAINT pk_passkey_challenges PRIMARY KEY (id),
    CONSTRAINT ck_passkey_challenges_purpose CHECK (purpose IN ('sign-in', 'register', 'confirm')),
    CONSTRAINT fk_passkey_challenges_session_id FOREIGN KEY(session_id) REFERENCES sessions (id)
);
CREATE INDEX ix_passkey_challenges_challenge ON passkey_challenges (challenge);
CREATE INDEX ix_passkey_challenges_expires_at ON passkey_challenges (expires_at);
CREATE INDEX ix_passkey_challenges_network ON passkey_challenges (network, expires_at);
CREATE TABLE requirement_uses (
    id INTEGER NOT NULL,
    requirement_id BIGINT NOT NULL,
    case_id BIGINT NOT NULL,
    item INTEGER NOT NULL,
    pointer TEXT NOT NULL,
    quantity TEXT NOT NULL,
    unit TEXT NOT NULL,
    used_at BIGINT NOT NULL,
    returned_at BIGINT,
    return_reason TEXT,
    CONSTRAINT pk_requirement_uses PRIMARY KEY (id),
    CONSTRAINT fk_requirement_uses_requirement_id FOREIGN KEY(requirement_id) REFERENCES requirements (id),
    CONSTRAINT fk_requirement_uses_case_id FOREIGN KEY(case_id) REFERENCES cases (id)
);
CREATE INDEX ix_requirement_uses_case_id ON requirement_uses (case_id, id);
CREATE INDEX ix_requirement_uses_requirement_id ON requirement_uses (requirement_id, id);
CREATE TABLE application_summaries (
    request_id BIGINT NOT NULL,
    agency TEXT NOT NULL,
    document_sha256 TEXT NOT NULL,
    applicant TEXT NOT NULL,
    applicant_id TEXT NOT NULL,
    goods TEXT NOT NULL,
    hs TEXT NOT NULL,
    heading TEXT NOT NULL,
    laws TEXT NOT NULL,
    item_count INTEGER NOT NULL,
    CONSTRAINT pk_application_summaries PRIMARY KEY (request_id),
    CONSTRAINT fk_application_summaries_request_id FOREIGN KEY(request_id) REFERENCES agency_requests (id)
);
CREATE INDEX ix_application_summaries_applicant ON application_summaries (agency, applicant_id, request_id);
CREATE INDEX ix_application_summaries_heading ON application_summaries (agency, heading, request_id);
CREATE TABLE case_answers (
    id INTEGER NOT NULL,
    party TEXT NOT NULL,
    request_id BIGINT NOT NULL,
    content BLOB NOT NULL,
    fingerprint TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    message BIGINT,
    handed_in_at BIGINT,
    CONSTRAINT pk_case_answers PRIMARY KEY (id),
    CONSTRAINT fk_case_answers_request_id FOREIGN KEY(request_id) REFERENCES agency_requests (id),
    CONSTRAINT fk_case_answers_message FOREIGN KEY(message) REFERENCES messages (id)
);
CREATE INDEX ix_case_answers_request_id ON case_answers (request_id, id);
CREATE TABLE console_mailbox (
    id INTEGER NOT NULL,
    agency TEXT NOT NULL,
    request_id BIGINT NOT NULL,
    case_id BIGINT NOT NULL,
    delivery_id BIGINT NOT NULL,
    operation TEXT NOT NULL,
    call_sha256 TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    CONSTRAINT pk_console_mailbox PRIMARY KEY (id),
    CONSTRAINT fk_console_mailbox_request_id FOREIGN KEY(request_id) REFERENCES agency_requests (id),
    CONSTRAINT fk_console_mailbox_case_id FOREIGN KEY(case_id) REFERENCES cases (id),
    CONSTRAINT fk_console_mailbox_delivery_id FOREIGN KEY(delivery_id) REFERENCES deliveries (id),
    CONSTRAINT fk_console_mailbox_call_sha256 FOREIGN KEY(call_sha256) REFERENCES payloads (sha256),
    CONSTRAINT uq_console_mailbox_delivery_id UNIQUE (delivery_id)
);
CREATE INDEX ix_console_mailbox_agency ON console_mailbox (agency, id);
CREATE INDEX ix_console_mailbox_request_id ON console_mailbox (request_id);
CREATE TABLE correlations (
    scheme TEXT NOT NULL,
    value TEXT NOT NULL,
    case_id BIGINT NOT NULL,
    request_id BIGINT,
    CONSTRAINT pk_correlations PRIMARY KEY (scheme, value),
    CONSTRAINT fk_correlations_case_id FOREIGN KEY(case_id) REFERENCES cases (id),
    CONSTRAINT fk_correlations_request_id FOREIGN KEY(request_id) REFERENCES agency_requests (id)
);
CREATE INDEX ix_correlations_case_id ON correlations (case_id);
CREATE TABLE deadlines (
    id INTEGER NOT NULL,
    case_id BIGINT NOT NULL,
    request_id BIGINT NOT NULL,
    kind TEXT NOT NULL,
    cause TEXT NOT NULL,
    state TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    days INTEGER,
    due_at BIGINT,
    remind_at BIGINT,
    next_at BIGINT,
    held_at BIGINT,
    reminded_at BIGINT,
    overdue_at BIGINT,
    ended_at BIGINT,
    edition TEXT,
    problem TEXT,
    held TEXT,
    CONSTRAINT pk_deadlines PRIMARY KEY (id),
    CONSTRAINT ck_deadlines_kind CHECK (kind IN ('acknowledge', 'decide', 'answer', 'pay', 'inspect')),
    CONSTRAINT ck_deadlines_state CHECK (state IN ('OPEN', 'HELD', 'UNKNOWN', 'OVERDUE', 'MET', 'LATE', 'CANCELLED')),
    CONSTRAINT ck_deadlines_ended CHECK ((ended_at IS NOT NULL) = (state IN ('MET', 'LATE', 'CANCELLED'))),
    CONSTRAINT fk_deadlines_case_id FOREIGN KEY(case_id) REFERENCES cases (id),
    CONSTRAINT fk_deadlines_request_id FOREIGN KEY(request_id) REFERENCES agency_requests (id)
);
CREATE INDEX ix_deadlines_case_id ON deadlines (case_id, id);
CREATE INDEX ix_deadlines_next ON deadlines (next_at, id) WHERE next_at IS NOT NULL;
CREATE INDEX ix_deadlines_state ON deadlines (state, id);
CREATE UNIQUE INDEX ix_deadlines_owed ON deadlines (case_id, request_id, kind, cause) WHERE ended_at IS NULL;
CREATE TABLE decisions (
    id INTEGER NOT NULL,
    request_id BIGINT NOT NULL,
    agency TEXT NOT NULL,
    notice_no TEXT NOT NULL,
    item INTEGER NOT NULL,
    law TEXT NOT NULL,
    issued_at BIGINT NOT NULL,
    decision TEXT NOT NULL,
    number TEXT,
    date DATE,
    quantity TEXT,
    unit TEXT,
    conditions TEXT NOT NULL,
    superseded_by BIGINT,
    received_at BIGINT NOT NULL,
    outdated_at BIGINT,
    CONSTRAINT pk_decisions PRIMARY KEY (id),
    CONSTRAINT ck_decisions_decision CHECK (decision IN ('APPROVED', 'APPROVED_WITH_CONDITIONS', 'REJECTED', 'NOT_CONCERNED')),
    CONSTRAINT fk_decisions_request_id FOREIGN KEY(request_id) REFERENCES agency_requests (id),
    CONSTRAINT fk_decisions_superseded_by FOREIGN KEY(superseded_by) REFERENCES decisions (id),
    CONSTRAINT uq_decisions_agency UNIQUE (agency, notice_no, item, law)
);
CREATE INDEX ix_decisions_number ON decisions (number) WHERE number IS NOT NULL;
CREATE INDEX ix_decisions_request_id ON decisions (request_id, item, law);
CREATE TABLE delivery_attempts (
    delivery BIGINT NOT NULL,
    attempt INTEGER NOT NULL,
    started_at BIGINT NOT NULL,
    finished_at BIGINT,
    outcome TEXT,
    http_status INTEGER,
    problem TEXT,
    answer_sha256 TEXT,
    sentence TEXT,
    theirs TEXT,
    CONSTRAINT pk_delivery_attempts PRIMARY KEY (delivery, attempt),
    CONSTRAINT fk_delivery_attempts_answer_sha256 FOREIGN KEY(answer_sha256) REFERENCES payloads (sha256),
    CONSTRAINT fk_delivery_attempts_delivery FOREIGN KEY(delivery) REFERENCES deliveries (id)
);
CREATE INDEX ix_delivery_attempts_answer_sha256 ON delivery_attempts (answer_sha256) WHERE answer_sha256 IS NOT NULL;
CREATE INDEX ix_delivery_attempts_problem ON delivery_attempts (problem, delivery) WHERE problem IS NOT NULL;
CREATE TABLE fees (
    id INTEGER NOT NULL,
    number TEXT NOT NULL,
    request_id BIGINT NOT NULL,
    case_id BIGINT NOT NULL,
    agency TEXT NOT NULL,
    kind TEXT NOT NULL,
    gate TEXT NOT NULL,
    state TEXT NOT NULL,
    amount TEXT,
    currency TEXT,
    due_on DATE,
    payment_notice TEXT NOT NULL,
    refundable BOOLEAN NOT NULL,
    levied_at BIGINT NOT NULL,
    ended_at BIGINT,
    address TEXT,
    ordered_at BIGINT,
    paid_at BIGINT,
    told_at BIGINT,
    due_at BIGINT,
    notice TEXT,
    ended_by TEXT,
    CONSTRAINT pk_fees PRIMARY KEY (id),
    CONSTRAINT ck_fees_gate CHECK (gate IN ('forwarding', 'result')),
    CONSTRAINT ck_fees_state CHECK (state IN ('LEVIED', 'ORDERED', 'PAID', 'CONFIRMED', 'CANCELLED', 'REFUNDING', 'REFUNDED', 'PARTLY_REFUNDED')),
    CONSTRAINT fk_fees_request_id FOREIGN KEY(request_id) REFERENCES agency_requests (id),
    CONSTRAINT fk_fees_case_id FOREIGN KEY(case_id) REFERENCES cases (id),
    CONSTRAINT uq_fees_number UNIQUE (number)
);
CREATE INDEX ix_fees_due ON fees (due_on, id) WHERE state IN ('LEVIED', 'ORDERED');
CREATE INDEX ix_fees_request_id ON fees (request_id, id);
CREATE TABLE message_sequences (
    id INTEGER NOT NULL,
    direction TEXT NOT NULL,
    party TEXT NOT NULL,
    agreement_id TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    next_ordinal BIGINT NOT NULL,
    base BIGINT NOT NULL,
    last_delivery BIGINT,
    changed_at BIGINT NOT NULL,
    CONSTRAINT pk_message_sequences PRIMARY KEY (id),
    CONSTRAINT ck_message_sequences_direction CHECK (direction IN ('in', 'out')),
    CONSTRAINT ck_message_sequences_base CHECK (base <= next_ordinal),
    CONSTRAINT fk_message_sequences_last_delivery FOREIGN KEY(last_delivery) REFERENCES deliveries (id),
    CONSTRAINT uq_message_sequences_party UNIQUE (party, conversation_id, agreement_id, direction)
);
CREATE TABLE notices (
    id INTEGER NOT NULL,
    request_id BIGINT NOT NULL,
    agency TEXT NOT NULL,
    number TEXT NOT NULL,
    issued_at BIGINT NOT NULL,
    status_code TEXT NOT NULL,
    text TEXT NOT NULL,
    pointers TEXT NOT NULL,
    deadline BIGINT,
    sha256 TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    fee_notice TEXT,
    CONSTRAINT pk_notices PRIMARY KEY (id),
    CONSTRAINT fk_notices_request_id FOREIGN KEY(request_id) REFERENCES agency_requests (id),
    CONSTRAINT uq_notices_agency UNIQUE (agency, number)
);
CREATE INDEX ix_notices_request_id ON notices (request_id);
CREATE TABLE officer_acts (
    id INTEGER NOT NULL,
    request_id BIGINT NOT NULL,
    agency TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    content TEXT NOT NULL,
    shown_sha256 TEXT NOT NULL,
    account_id BIGINT NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    at BIGINT NOT NULL,
    confirmation TEXT NOT NULL,
    approver_id BIGINT,
    approver_name TEXT,
    approver_role TEXT,
    approver_confirmation TEXT,
    reason TEXT,
    message_id TEXT NOT NULL,
    notice_number TEXT NOT NULL,
    issued_at BIGINT,
    call_sha256 TEXT,
    problem TEXT,
    detail TEXT,
    ended_at BIGINT,
    under_way BIGINT,
    CONSTRAINT pk_officer_acts PRIMARY KEY (id),
    CONSTRAINT ck_officer_acts_kind CHECK (kind IN ('receive', 'ask', 'inspect', 'fee', 'decide', 'correct', 'revoke')),
    CONSTRAINT ck_officer_acts_state CHECK (state IN ('PROPOSED', 'INTENDED', 'PERFORMED', 'REFUSED', 'RETURNED', 'WITHDRAWN')),
    CONSTRAINT fk_officer_acts_request_id FOREIGN KEY(request_id) REFERENCES agency_requests (id),
    CONSTRAINT fk_officer_acts_content FOREIGN KEY(content) REFERENCES payloads (sha256),
    CONSTRAINT fk_officer_acts_shown_sha256 FOREIGN KEY(shown_sha256) REFERENCES payloads (sha256),
    CONSTRAINT fk_officer_acts_account_id FOREIGN KEY(account_id) REFERENCES accounts (id),
    CONSTRAINT fk_officer_acts_approver_id FOREIGN KEY(approver_id) REFERENCES accounts (id),
    CONSTRAINT fk_officer_acts_call_sha256 FOREIGN KEY(call_sha256) REFERENCES payloads (sha256),
    CONSTRAINT uq_officer_acts_message_id UNIQUE (message_id),
    CONSTRAINT uq_officer_acts_under_way UNIQUE (under_way)
);
CREATE INDEX ix_officer_acts_agency ON officer_acts (agency, state, id);
CREATE INDEX ix_officer_acts_request_id ON officer_acts (request_id);
CREATE TABLE sent_groups (
    delivery BIGINT NOT NULL,
    message BIGINT NOT NULL,
    count INTEGER NOT NULL,
    round INTEGER NOT NULL,
    state TEXT NOT NULL,
    sealed_at BIGINT NOT NULL,
    ended_at BIGINT,
    CONSTRAINT pk_sent_groups PRIMARY KEY (delivery),
    CONSTRAINT ck_sent_groups_state CHECK (state IN ('SEALED', 'SENDING', 'RECEIPTED', 'FAILED')),
    CONSTRAINT fk_sent_groups_delivery FOREIGN KEY(delivery) REFERENCES deliveries (id),
    CONSTRAINT fk_sent_groups_message FOREIGN KEY(message) REFERENCES messages (id),
    CONSTRAINT uq_sent_groups_message UNIQUE (message)
);
CREATE TABLE work_claims (
    request_id BIGINT NOT NULL,
    agency TEXT NOT NULL,
    account_id BIGINT,
    version INTEGER NOT NULL,
    since BIGINT NOT NULL,
    CONSTRAINT pk_work_claims PRIMARY KEY (request_id),
    CONSTRAINT fk_work_claims_request_id FOREIGN KEY(request_id) REFERENCES agency_requests (id),
    CONSTRAINT fk_work_claims_account_id FOREIGN KEY(account_id) REFERENCES accounts (id)
);
CREATE INDEX ix_work_claims_account ON work_claims (account_id);
CREATE TABLE case_answer_files (
    answer BIGINT NOT NULL,
    content_id TEXT NOT NULL,
    media_type TEXT NOT NULL,
    content BLOB NOT NULL,
    CONSTRAINT pk_case_answer_files PRIMARY KEY (answer, content_id),
    CONSTRAINT fk_case_answer_files_answer FOREIGN KEY(answer) REFERENCES case_answers (id)
);
CREATE TABLE fee_movements (
    id INTEGER NOT NULL,
    fee_id BIGINT NOT NULL,
    kind TEXT NOT NULL,
    reference TEXT NOT NULL,
    state TEXT NOT NULL,
    amount TEXT NOT NULL,
    currency TEXT NOT NULL,
    reason TEXT NOT NULL,
    at BIGINT NOT NULL,
    payment TEXT,
    provider_reference TEXT,
    moved_at BIGINT,
    CONSTRAINT pk_fee_movements PRIMARY KEY (id),
    CONSTRAINT ck_fee_movements_kind CHECK (kind IN ('payment', 'refund')),
    CONSTRAINT ck_fee_movements_state CHECK (state IN ('COUNTED', 'NOT_COUNTED', 'ORDERED', 'DONE')),
    CONSTRAINT fk_fee_movements_fee_id FOREIGN KEY(fee_id) REFERENCES fees (id),
    CONSTRAINT uq_fee_movements_kind UNIQUE (kind, reference)
);
CREATE INDEX ix_fee_movements_fee_id ON fee_movements (fee_id, id);
CREATE INDEX ix_fee_movements_moved ON fee_movements (moved_at, id);
CREATE TABLE ordered_deliveries (
    delivery BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    ordinal BIGINT NOT NULL,
    position BIGINT NOT NULL,
    CONSTRAINT pk_ordered_deliveries PRIMARY KEY (delivery),
    CONSTRAINT fk_ordered_deliveries_delivery FOREIGN KEY(delivery) REFERENCES deliveries (id),
    CONSTRAINT fk_ordered_deliveries_sequence FOREIGN KEY(sequence) REFERENCES message_sequences (id),
    CONSTRAINT uq_ordered_deliveries_sequence UNIQUE (sequence, ordinal)
);
CREATE TABLE ordered_messages (
    message BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    ordinal BIGINT NOT NULL,
    state TEXT NOT NULL,
    for_case BOOLEAN NOT NULL,
    received_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    CONSTRAINT pk_ordered_messages PRIMARY KEY (message),
    CONSTRAINT ck_ordered_messages_state CHECK (state IN ('HELD', 'RELEASED', 'GIVEN_UP')),
    CONSTRAINT fk_ordered_messages_message FOREIGN KEY(message) REFERENCES messages (id),
    CONSTRAINT fk_ordered_messages_sequence FOREIGN KEY(sequence) REFERENCES message_sequences (id)
);
CREATE INDEX ix_ordered_messages_expires_at ON ordered_messages (expires_at, message) WHERE state = 'HELD';
CREATE INDEX ix_ordered_messages_held ON ordered_messages (sequence, ordinal) WHERE state = 'HELD';
CREATE UNIQUE INDEX uq_ordered_messages_ordinal ON ordered_messages (sequence, ordinal) WHERE state <> 'GIVEN_UP';
CREATE TABLE sent_fragments (
    message BIGINT NOT NULL,
    "group" BIGINT NOT NULL,
    number INTEGER NOT NULL,
    delivery BIGINT,
    CONSTRAINT pk_sent_fragments PRIMARY KEY (message),
    CONSTRAINT fk_sent_fragments_delivery FOREIGN KEY(delivery) REFERENCES deliveries (id),
    CONSTRAINT fk_sent_fragments_group FOREIGN KEY("group") REFERENCES sent_groups (delivery),
    CONSTRAINT fk_sent_fragments_message FOREIGN KEY(message) REFERENCES messages (id),
    CONSTRAINT uq_sent_fragments_group UNIQUE ("group", number)
);
CREATE TRIGGER count_requests_added AFTER INSERT ON agency_requests BEGIN INSERT INTO state_totals (measure, label, state, number) SELECT 'requests', COALESCE(NEW.agency, ''), NEW.state, 1 WHERE true ON CONFLICT (measure, label, state) DO UPDATE SET number = number + excluded.number; END;
CREATE TRIGGER count_requests_changed AFTER UPDATE OF agency, state ON agency_requests WHEN OLD.agency IS NOT NEW.agency OR OLD.state IS NOT NEW.state BEGIN INSERT INTO state_totals (measure, label, state, number) SELECT 'requests', COALESCE(OLD.agency, ''), OLD.state, -1 WHERE true ON CONFLICT (measure, label, state) DO UPDATE SET number = number + excluded.number; INSERT INTO state_totals (measure, label, state, number) SELECT 'requests', COALESCE(NEW.agency, ''), NEW.state, 1 WHERE true ON CONFLICT (measure, label, state) DO UPDATE SET number = number + excluded.number; END;
CREATE TRIGGER count_requests_removed AFTER DELETE ON agency_requests BEGIN INSERT INTO state_totals (measure, label, state, number) SELECT 'requests', COALESCE(OLD.agency, ''), OLD.state, -1 WHERE true ON CONFLICT (measure, label, state) DO UPDATE SET number = number + excluded.number; END;
CREATE TRIGGER count_cases_added AFTER INSERT ON cases BEGIN INSERT INTO state_totals (measure, label, state, number) SELECT 'cases', COALESCE(NEW.outcome, ''), NEW.state, 1 WHERE true ON CONFLICT (measure, label, state) DO UPDATE SET number = number + excluded.number; END;
CREATE TRIGGER count_cases_changed AFTER UPDATE OF outcome, state ON cases WHEN OLD.outcome IS NOT NEW.outcome OR OLD.state IS NOT NEW.state BEGIN INSERT INTO state_totals (measure, label, state, number) SELECT 'cases', COALESCE(OLD.outcome, ''), OLD.state, -1 WHERE true ON CONFLICT (measure, label, state) DO UPDATE SET number = number + excluded.number; INSERT INTO state_totals (measure, label, state, number) SELECT 'cases', COALESCE(NEW.outcome, ''), NEW.state, 1 WHERE true ON CONFLICT (measure, label, state) DO UPDATE SET number = number + excluded.number; END;
CREATE TRIGGER count_cases_removed AFTER DELETE ON cases BEGIN INSERT INTO state_totals (measure, label, state, number) SELECT 'cases', COALESCE(OLD.outcome, ''), OLD.state, -1 WHERE true ON CONFLICT (measure, label, state) DO UPDATE SET number = number + excluded.number; END;
CREATE TRIGGER count_deliveries_added AFTER INSERT ON deliveries BEGIN INSERT INTO state_totals (measure, label, state, number) SELECT 'deliveries', COALESCE(NEW.lane, ''), NEW.state, 1 WHERE true ON CONFLICT (measure, label, state) DO UPDATE SET number = number + excluded.number; END;
CREATE TRIGGER count_deliveries_changed AFTER UPDATE OF lane, state ON deliveries WHEN OLD.lane IS NOT NEW.lane OR OLD.state IS NOT NEW.state BEGIN INSERT INTO state_totals (measure, label, state, number) SELECT 'deliveries', COALESCE(OLD.lane, ''), OLD.state, -1 WHERE true ON CONFLICT (measure, label, state) DO UPDATE SET number = number + excluded.number; INSERT INTO state_totals (measure, label, state, number) SELECT 'deliveries', COALESCE(NEW.lane, ''), NEW.state, 1 WHERE true ON CONFLICT (measure, label, state) DO UPDATE SET number = number + excluded.number; END;
CREATE TRIGGER count_deliveries_removed AFTER DELETE ON deliveries BEGIN INSERT INTO state_totals (measure, label, state, number) SELECT 'deliveries', COALESCE(OLD.lane, ''), OLD.state, -1 WHERE true ON CONFLICT (measure, label, state) DO UPDATE SET number = number + excluded.number; END;
CREATE TRIGGER count_problems_added AFTER INSERT ON deliveries WHEN NEW.problem IS NOT NULL AND NEW.state NOT IN ('DELIVERED', 'CANCELLED') BEGIN INSERT INTO state_totals (measure, label, state, number) SELECT 'problems', COALESCE(NEW.problem, ''), NEW.state, 1 WHERE NEW.problem IS NOT NULL AND NEW.state NOT IN ('DELIVERED', 'CANCELLED') ON CONFLICT (measure, label, state) DO UPDATE SET number = number + excluded.number; END;
CREATE TRIGGER count_problems_changed AFTER UPDATE OF problem, state ON deliveries WHEN (OLD.problem IS NOT NEW.problem OR OLD.state IS NOT NEW.state) AND (OLD.problem IS NOT NULL OR NEW.problem IS NOT NULL) BEGIN INSERT INTO state_totals (measure, label, state, number) SELECT 'problems', COALESCE(OLD.problem, ''), OLD.state, -1 WHERE OLD.problem IS NOT NULL AND OLD.state NOT IN ('DELIVERED', 'CANCELLED') ON CONFLICT (measure, label, state) DO UPDATE SET number = number + excluded.number; INSERT INTO state_totals (measure, label, state, number) SELECT 'problems', COALESCE(NEW.problem, ''), NEW.state, 1 WHERE NEW.problem IS NOT NULL AND NEW.state NOT IN ('DELIVERED', 'CANCELLED') ON CONFLICT (measure, label, state) DO UPDATE SET number = number + excluded.number; END;
CREATE TRIGGER count_problems_removed AFTER DELETE ON deliveries WHEN OLD.problem IS NOT NULL AND OLD.state NOT IN ('DELIVERED', 'CANCELLED') BEGIN INSERT INTO state_totals (measure, label, state, number) SELECT 'problems', COALESCE(OLD.problem, ''), OLD.state, -1 WHERE OLD.problem IS NOT NULL AND OLD.state NOT IN ('DELIVERED', 'CANCELLED') ON CONFLICT (measure, label, state) DO UPDATE SET number = number + excluded.number; END;
CREATE TRIGGER count_messages_added AFTER INSERT ON messages BEGIN INSERT INTO state_totals (measure, label, state, number) SELECT 'messages', COALESCE(NEW.direction, ''), NEW.state, 1 WHERE true ON CONFLICT (measure, label, state) DO UPDATE SET number = number + excluded.number; END;
CREATE TRIGGER count_messages_changed AFTER UPDATE OF direction, state ON messages WHEN OLD.direction IS NOT NEW.direction OR OLD.state IS NOT NEW.state BEGIN INSERT INTO state_totals (measure, label, state, number) SELECT 'messages', COALESCE(OLD.direction, ''), OLD.state, -1 WHERE true ON CONFLICT (measure, label, state) DO UPDATE SET number = number + excluded.number; INSERT INTO state_totals (measure, label, state, number) SELECT 'messages', COALESCE(NEW.direction, ''), NEW.state, 1 WHERE true ON CONFLICT (measure, label, state) DO UPDATE SET number = number + excluded.number; END;
CREATE TRIGGER count_messages_removed AFTER DELETE ON messages BEGIN INSERT INTO state_totals (measure, label, state, number) SELECT 'messages', COALESCE(OLD.direction, ''), OLD.state, -1 WHERE true ON CONFLICT (measure, label, state) DO UPDATE SET number = number + excluded.number; END;
