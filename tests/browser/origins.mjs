// Run by ./run: node origins.mjs. A publishable key in a page of an origin that it allows, and in a page of another one.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { chromium } from 'playwright-core'

const url = process.env.CUSTOMER_MATCH_URL
const api = `${url}/api/v1/customer`
const sample = 'PRODPGrFxpGEtrOZfuWhnoJohUYBXuOE'
const [manager, customer] = ['1cGIHvFoQDGLAbcA', '5CmsaVNgAQqRqoen']

const pages = createServer((_, response) => response.setHeader('Content-Type', 'text/html').end('<!doctype html><title>page</title>'))
await once(pages.listen(0, '127.0.0.1'), 'listening')
const { port } = pages.address()
const [allowed, other] = [`http://127.0.0.1:${port}`, `http://localhost:${port}`]
const create = ['key', 'create', '--organisation', '1', '--kind', 'prod', '--publishable', '--allowed-origin', allowed]
const key = execFileSync(process.env.CUSTOMER_MATCH_BINARY, create, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()

/** Calls from the page with the key in the header; an answer that the page may not read is null. */
function call(page, method, path, body, headers = {}) {
  const request = { method, headers: { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json', ...headers }, body: body && JSON.stringify(body) }
  return page.evaluate(
    ([url, request]) => fetch(url, request).then(async (response) => ({ status: response.status, body: await response.json() }), () => null),
    [path.startsWith('/ping') ? url + path : api + path, request],
  )
}

/** What the relation looks like to the organisation itself. */
async function relations() {
  const response = await fetch(`${api}/matched-customer-list?apiKey=${sample}&cuRefNo=${manager}`)
  return (await response.json()).items.map(({ email, notice }) => ({ email, notice }))
}

const everything = [
  ['POST', '/customer-unmatch-customer', { managerCuRefNo: manager, customerCuRefNo: customer }],
  ['POST', '/create', { email: 'jan@barasek.com' }],
  ['POST', '/magic-auth', { email: 'jan@barasek.com' }],
  ['POST', '/logout', { identityId: '0jSodqYxBs98PaIAcIbs5FyMEJTsJ6DA' }],
  ['GET', `/matched-customer-list?cuRefNo=${manager}`],
  ['GET', '/matched-customer-list?identityId=0jSodqYxBs98PaIAcIbs5FyMEJTsJ6DA'],
  ['GET', '/detail?identityId=0jSodqYxBs98PaIAcIbs5FyMEJTsJ6DA'],
]

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] })
try {
  const page = await browser.newPage()
  const success = { status: 200, body: { success: true } }

  await page.goto(other)
  const posted = { managerCuRefNo: manager, customerCuRefNo: customer, notice: 'from another origin' }
  assert.equal(await call(page, 'POST', '/customer-match-customer', posted), null)
  for (const [method, path, body] of everything) assert.equal(await call(page, method, path, body), null, path)
  assert.equal(await call(page, 'GET', '/ping/v1'), null)
  assert.deepEqual(await relations(), [], 'nothing was written from another origin')

  await page.goto(allowed)
  assert.deepEqual(await call(page, 'GET', '/ping/v1'), success)
  const preference = { Prefer: 'return=representation' }
  const bodies = [
    { managerCuRefNo: manager, customerCuRefNo: customer, notice: 'from the page' },
    { managerCuRefNo: manager, customerCuRefNo: 'unknown000000000' },
    { managerCuRefNo: 'unknown000000000', customerEmail: 'jan@barasek.com' },
    { managerCuRefNo: manager, customerEmail: 'jan@barasek.com' },
    { managerCuRefNo: customer, customerEmail: 'jan@barasek.com' },
  ]
  for (const body of bodies) assert.deepEqual(await call(page, 'POST', '/customer-match-customer', body, preference), success, JSON.stringify(body))
  for (const [method, path, body] of everything) {
    const answer = await call(page, method, path, body)
    assert.deepEqual([answer?.status, answer?.body.error.code], [403, 'PUBLIC_API_KEY_SCOPE_NOT_ALLOWED'], path)
  }
  assert.deepEqual(await relations(), [{ email: 'jan@barasek.com', notice: 'from the page' }])
  console.log('a publishable key matches from its own origin, and gets at nothing else')
} finally {
  await browser.close()
  pages.close()
}
