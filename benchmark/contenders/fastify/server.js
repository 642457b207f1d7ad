// Fastify 5 and node-postgres, one statement a request, in PROCESSES processes (node:cluster). The pool has its default size;
// keys are remembered for ever, which customer-match does not allow itself.

import cluster from 'node:cluster'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import Fastify from 'fastify'
import pg from 'pg'

// itemCount is an int8, which node-postgres returns as a text otherwise.
pg.types.setTypeParser(pg.types.builtins.INT8, Number)

const processes = Number(process.env.PROCESSES)
if (cluster.isPrimary && processes > 1) {
  for (let i = 0; i < processes; i++) cluster.fork()
} else {
  await serve()
}

// A named statement is prepared once a connection.
function statement (name) {
  return { name, text: readFileSync(new URL(`../${name}.sql`, import.meta.url), 'utf8') }
}

async function serve () {
  const statements = {
    match: statement('match'),
    matchByEmail: statement('match-by-email'),
    list: statement('list'),
    filter: statement('filter'),
    detail: statement('detail')
  }
  const pool = new pg.Pool()
  const organisations = new Map()
  const app = Fastify()

  const run = (statement, values) => pool.query({ ...statement, values })

  async function organisationOf (apiKey) {
    const known = organisations.get(apiKey)
    if (known !== undefined) return known
    const { rows } = await pool.query(
      'select organisation_id from api_key where hash = $1 and active and deleted_at is null', [sha256(apiKey)])
    if (rows.length > 0) organisations.set(apiKey, rows[0].organisation_id)
    return rows[0]?.organisation_id
  }

  const sha256 = text => createHash('sha256').update(text).digest()
  // Case only, no diacritics.
  const patternOf = text => `%${text.toLowerCase().replace(/[\\%_]/g, '\\$&')}%`
  const notFound = (reply, what) => reply.code(404).send({ error: { message: what } })

  const nullable = { type: 'string', nullable: true }
  const apiKey = { type: 'string', pattern: '^(PROD|DEV_|ROOT)[A-Za-z0-9]{28}$' }
  const cuRefNo = { type: 'string', pattern: '^[A-Za-z0-9]{16}$' }
  const identityId = { type: 'string', pattern: '^[A-Za-z0-9]{32}$' }
  const query = (required, properties) =>
    ({ type: 'object', required: ['apiKey', ...required], properties: { apiKey, ...properties } })
  const answer = properties => ({ 200: { type: 'object', properties } })

  const matchSchema = {
    querystring: query([], {}),
    body: {
      type: 'object',
      required: ['managerCuRefNo'],
      properties: {
        managerCuRefNo: cuRefNo,
        customerCuRefNo: cuRefNo,
        customerEmail: { type: 'string', format: 'email' },
        notice: { type: 'string', maxLength: 10000 }
      },
      anyOf: [{ required: ['customerCuRefNo'] }, { required: ['customerEmail'] }]
    },
    response: answer({ success: { type: 'boolean' } })
  }

  app.post('/api/v1/customer/customer-match-customer', { schema: matchSchema }, async (request, reply) => {
    const organisation = await organisationOf(request.query.apiKey)
    if (organisation === undefined) return notFound(reply, 'API key')
    const { managerCuRefNo, customerCuRefNo, customerEmail, notice } = request.body
    try {
      if (customerCuRefNo !== undefined) {
        await run(statements.match, [organisation, managerCuRefNo, customerCuRefNo, notice])
      } else {
        await run(statements.matchByEmail, [organisation, managerCuRefNo, customerEmail, notice, '0000000000000000'])
      }
    } catch (error) {
      if (error.code === '23503') return notFound(reply, 'customer') // A foreign key of the relation.
      throw error
    }
    return { success: true }
  })

  const listSchema = {
    querystring: query(['cuRefNo'], {
      cuRefNo,
      query: { type: 'string', maxLength: 254 },
      limit: { type: 'integer', minimum: 1, maximum: 500, default: 32 }
    }),
    response: answer({
      items: {
        type: 'array',
        items: {
          type: 'object',
          properties: {
            cuRefNo: { type: 'string' },
            email: nullable,
            firstName: nullable,
            lastName: nullable,
            companyName: nullable,
            notice: nullable,
            role: { type: 'string' },
            matchedAt: { type: 'string' },
            updatedAt: { type: 'string' }
          }
        }
      },
      itemCount: { type: 'integer' },
      nextCursor: nullable
    })
  }

  app.get('/api/v1/customer/matched-customer-list', { schema: listSchema }, async (request, reply) => {
    const organisation = await organisationOf(request.query.apiKey)
    if (organisation === undefined) return notFound(reply, 'API key')
    const { cuRefNo, query, limit } = request.query
    // One more tells whether there is another page.
    const { rows } = query === undefined
      ? await run(statements.list, [organisation, cuRefNo, limit + 1])
      : await run(statements.filter, [organisation, cuRefNo, limit + 1, patternOf(query)])
    if (rows.length === 0) return notFound(reply, 'customer')
    const items = rows.filter(row => row.cu_ref_no !== null).slice(0, limit).map(row => ({
      cuRefNo: row.cu_ref_no,
      email: row.email,
      firstName: row.first_name,
      lastName: row.last_name,
      companyName: row.company_name,
      notice: row.notice,
      role: !row.is_manager ? 'customer' : row.is_managed ? 'both' : 'manager',
      matchedAt: row.matched_at.toISOString(),
      updatedAt: row.updated_at.toISOString()
    }))
    const last = rows.length > limit ? items.at(-1) : undefined
    return { items, itemCount: rows[0].item_count, nextCursor: last ? `${last.matchedAt}_${last.cuRefNo}` : null }
  })

  const detailSchema = {
    querystring: query(['identityId'], { identityId, cuRefNo }),
    response: answer({
      loggedIn: { type: 'boolean' },
      cuRefNo: { type: 'string' },
      email: nullable,
      phone: nullable,
      firstName: nullable,
      lastName: nullable,
      companyName: nullable
    })
  }

  app.get('/api/v1/customer/detail', { schema: detailSchema }, async (request, reply) => {
    const organisation = await organisationOf(request.query.apiKey)
    if (organisation === undefined) return notFound(reply, 'API key')
    const { identityId, cuRefNo } = request.query
    const { rows: [row] } = await run(statements.detail, [organisation, sha256(identityId), cuRefNo ?? null])
    if (row === undefined) return reply.code(401).send({ error: { message: 'not logged in' } })
    if (row.cu_ref_no === null) return notFound(reply, 'customer')
    return {
      loggedIn: true,
      cuRefNo: row.cu_ref_no,
      email: row.email,
      phone: row.phone,
      firstName: row.first_name,
      lastName: row.last_name,
      companyName: row.company_name
    }
  })

  await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT) })
}
