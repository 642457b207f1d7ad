// A call by the generated types: what is wrong here does not compile.
import createClient from 'openapi-fetch'
import type { components, paths } from './generated/api.js'

const api = createClient<paths>({
  baseUrl: process.env.CUSTOMER_MATCH_URL!,
  headers: { Authorization: 'Bearer PRODPGrFxpGEtrOZfuWhnoJohUYBXuOE' },
})
const MATCH = '/api/v1/customer/customer-match-customer'
const pair: components['schemas']['MatchRequest'] = {
  managerCuRefNo: '1cGIHvFoQDGLAbcA',
  customerCuRefNo: '5CmsaVNgAQqRqoen',
  notice: null,
}

const { data, error } = await api.POST(MATCH, { params: { header: { Prefer: 'return=representation' } }, body: pair })
if (error) throw new Error(`${error.error.code} ${error.error.field ?? ''}`)
const outcome: 'created' | 'updated' | 'unchanged' | 'reactivated' | undefined = data.outcome
const email: string | null | undefined = data.relation?.customerEmail
if (!data.success || !outcome || email !== 'jan@barasek.com') throw new Error(JSON.stringify(data))

// @ts-expect-error: the manager is required
const refused = await api.POST(MATCH, { body: { customerCuRefNo: '5CmsaVNgAQqRqoen' } })
if (refused.error?.error.code !== 'INTERNAL_VALIDATION_FAILED') throw new Error(JSON.stringify(refused))
// @ts-expect-error: a refusal has no such member
refused.error.error.status

console.log(`TypeScript: ${outcome}`)
