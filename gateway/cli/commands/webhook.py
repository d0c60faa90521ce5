"""``gateway webhook renew``: a new key of the webhooks, in place of one that is lost or known to others."""

from __future__ import annotations

import os
from dataclasses import replace

import click

from gateway.cli.audited_changes import print_change, read_act
from gateway.cli.home_folder import open_engine, read_verb_settings
from gateway.cli.shared_options import changing_verb, read_reason
from gateway.cli.verb_groups import Arguments
from gateway.config import mask_url
from gateway.hub import WEBHOOK_KEY_OCTETS, place_new_key, prepare_new_key, renew_webhook_key
from gateway.operations import format_count, open_change


@changing_verb("webhook renew")
@click.option("--reason", required=True, help="why, for everybody who looks")
def renew_key(arguments: Arguments) -> None:
    """Make a new key of the webhooks, and delete every webhook: its secret came from the old key.

    Raises GW803 where the file of the key cannot be made; then nothing is changed. A process that is killed
    after the commit leaves the old file, which no node uses any more: run the verb again.
    """
    settings, reason = read_verb_settings(arguments), read_reason(arguments)
    # A link to a file that nodes share stays a link.
    path, key = settings.api.webhook_key.resolve(), os.urandom(WEBHOOK_KEY_OCTETS)
    with open_engine(settings) as engine:
        new_path = prepare_new_key(path, key)
        try:
            with open_change(engine, settings, replace(read_act(arguments), reason=reason)) as change:
                ended = renew_webhook_key(change.conn, key, change.at)
                change.record_change("webhooks", before={"webhooks": [row.name for row in ended]}, after={})
            place_new_key(new_path, path)
        finally:
            new_path.unlink(missing_ok=True)
    rows = [{"party": row.party_id, "webhook": row.name, "url": mask_url(row.url)} for row in ended]
    deleted = format_count(len(rows), "webhook is", "webhooks are")
    sentences = [
        f"The new key is {str(path)[-120:]}: copy it to every other node, with the permission 0600.",
        *(f"Party {row['party']} loses webhook {row['webhook']} at {row['url']}." for row in rows),
        f"In all {deleted} deleted: the parties make them anew, and get new secrets.",
    ]
    print_change(change, *sentences, as_json=arguments.json, webhooks=rows)
