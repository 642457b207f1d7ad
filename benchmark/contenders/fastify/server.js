// Fastify 5 and node-postgres, one statement a request, in PROCESSES processes (node:cluster). The pool has its default size;
// keys are remembered for ever, which customer-match does not allow itself.

import cluster from 'node:cluster'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import Fastify from 'fastify'
import pg from 'pg'

const processes = Number(process.env.PROCESSES)
if (cluster.isPrimary && processes > 1) {
  for (let i = 0; i < processes; i++) cluster.fork()
} else {
  await serve()
}

async function serve () {
  const text = readFileSync(new URL('../statement.sql', import.meta.url), 'utf8')
  const pool = new pg.Pool()
  const organisations = new Map()
  const app = Fastify()

  async function organisationOf (apiKey) {
    const known = organisations.get(apiKey)
    if (known !== undefined) return known
    const hash = createHash('sha256').update(apiKey).digest()
    const { rows } = await pool.query(
      'select organisation_id from api_key where hash = $1 and active and deleted_at is null', [hash])
    if (rows.length > 0) organisations.set(apiKey, rows[0].organisation_id)
    return rows[0]?.organisation_id
  }

  const cuRefNo = { type: 'string', pattern: '^[A-Za-z0-9]{16}$' }
  const schema = {
    querystring: {
      type: 'object',
      required: ['apiKey'],
      properties: { apiKey: { type: 'string', pattern: '^(PROD|DEV_|ROOT)[A-Za-z0-9]{28}$' } }
    },
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
    response: { 200: { type: 'object', properties: { success: { type: 'boolean' } } } }
  }

  app.post('/api/v1/customer/customer-match-customer', { schema }, async (request, reply) => {
    const organisation = await organisationOf(request.query.apiKey)
    if (organisation === undefined) return reply.code(404).send({ error: { message: 'API key' } })
    const { managerCuRefNo, customerCuRefNo, customerEmail, notice } = request.body
    const { rows: [row] } = await pool.query({
      name: 'match', // A named statement is prepared once a connection.
      text,
      values: [organisation, managerCuRefNo, customerCuRefNo, customerEmail, '0000000000000000', notice]
    })
    if (row.manager_id === null || row.customer_id === null) {
      return reply.code(404).send({ error: { message: 'customer' } })
    }
    return { success: true }
  })

  await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT) })
}
