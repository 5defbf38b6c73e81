"""What the books know of nodes' keys, as a JSON document."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from buildmaster.database import Database
from buildmaster.status.keys import LOOKED_AT, AskedKeys
from buildmaster.store.documents.fragments import at
from buildmaster.store.reuse import IMAGES, IS_LAST, SAME_IMAGE

# A job that may be told of: whose result may be taken, and who asks may see it.
_VISIBLE = """
    (job.trust_domain = ANY (%(domains)s::text[]) AND (%(within)s::text[] IS NULL
        OR job.repository IS NOT NULL AND is_within(job.repository, %(within)s::text[])))
"""
_HERE = "job.repository = ANY (%(repositories)s::text[])"
# The smallest is looked for among its own, not from the first run on.
_RUN = """
    (SELECT min(own.run) FROM (
        SELECT r.run FROM run_job AS r WHERE r.job = job.id OFFSET 0) AS own)
"""
# As `still_published` has it.
_STANDS = f"(node.scope <> 'component' OR {_HERE} AND {IS_LAST})"
STATEMENT = f"""
    WITH {IMAGES}, given AS MATERIALIZED (
        SELECT n.place, decode(n.one ->> 'key', 'hex') AS key,
               decode(n.one ->> 'base', 'hex') AS base,
               decode(n.one ->> 'configuration', 'hex') AS configuration,
               n.one ->> 'name' AS name, n.one ->> 'cell' AS cell,
               (n.one ->> 'part')::integer AS part
        FROM jsonb_array_elements(%(nodes)s::jsonb) WITH ORDINALITY AS n (one, place)
    ), passed AS MATERIALIZED (
        SELECT DISTINCT ON (g.key) g.key, job.id AS job, job.attempt, {_RUN} AS run,
               job.repository, {at("job.finished_at")} AS finished_at,
               {SAME_IMAGE} AS same_image, {_STANDS} AS stands
        FROM (SELECT DISTINCT key FROM given) AS g
        CROSS JOIN LATERAL (
            SELECT * FROM node WHERE inputs = g.key AND runs OFFSET 0) AS node
        JOIN job ON job.id = node.job AND job.result = 'success' AND {_VISIBLE}
        JOIN images ON images.environment = node.environment
        ORDER BY g.key, {SAME_IMAGE} DESC, job.id DESC
    ), before AS MATERIALIZED (
        SELECT g.place, found.* FROM given AS g CROSS JOIN LATERAL (
            SELECT job.id AS job, {_RUN} AS run, job.state, job.result,
                   {at("job.finished_at")} AS finished_at, node.inputs = g.key AS same_key,
                   node.base = g.base AS same_base,
                   build.configuration = g.configuration AS same_configuration,
                   node.environment
            FROM (SELECT * FROM job AS j WHERE j.name = g.name
                  ORDER BY j.id DESC LIMIT {LOOKED_AT}) AS job
            JOIN node ON node.job = job.id JOIN build ON build.job = job.id
            WHERE job.cell = g.cell AND job.part = g.part AND {_VISIBLE}
              AND (%(repositories)s::text[] = '{{}}' OR {_HERE})
            ORDER BY node.inputs = g.key DESC,
                     coalesce(job.result IN ('success', 'reused'), false) DESC, job.id DESC
            LIMIT 1) AS found
        WHERE NOT EXISTS (SELECT FROM passed AS p WHERE p.key = g.key AND p.same_image)
    )
    SELECT json_build_object(
        'isolation', %(isolation)s::text,
        'offers', (SELECT coalesce(json_agg(DISTINCT one), '[]') FROM (
            SELECT jsonb_array_elements(offers) AS one FROM worker
            ORDER BY name LIMIT 10000) AS o),
        'nodes', (SELECT coalesce(json_agg(json_build_object(
            'passed', CASE WHEN p.key IS NOT NULL THEN to_jsonb(p) - 'key' END,
            'before', CASE WHEN b.place IS NOT NULL THEN to_jsonb(b) - 'place' END)
            ORDER BY g.place), '[]')
            FROM given AS g LEFT JOIN passed AS p USING (key)
            LEFT JOIN before AS b USING (place)))::text
"""


async def known_keys(
    database: Database,
    asked: AskedKeys,
    within: tuple[str, ...] | None,
    domains: Sequence[str],
    isolation: str,
) -> bytes:
    """What `buildmaster.status.keys.KnownKeys` describes.

    Of jobs of these trust domains, and of the projects ``within`` only; None: of all.
    """
    nodes = msgspec.json.encode(asked.nodes).decode()
    [text] = await database.one(
        STATEMENT,
        {
            "nodes": nodes,
            "repositories": list(asked.repositories),
            "environments": sorted({one.environment for one in asked.nodes}),
            "within": None if within is None else list(within),
            "domains": list(domains),
            "isolation": isolation,
        },
    )
    return str(text).encode()
