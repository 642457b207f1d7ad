// Run by ./run: node try.mjs FOLDER-FOR-SCREENSHOTS
import assert from 'node:assert/strict'
import { chromium } from 'playwright-core'

const url = process.env.CUSTOMER_MATCH_URL
const folder = process.argv[2]
const devices = {
  phone: { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 },
  desktop: { viewport: { width: 1280, height: 800 } },
}

/** Sends an operation of /docs as it is filled in, and returns what the page shows of the answer. */
async function tryItOut(operation) {
  await operation.locator('.opblock-summary-control').click()
  await operation.getByRole('button', { name: 'Try it out' }).click()
  await operation.getByRole('button', { name: 'Execute' }).click()
  const answer = operation.locator('.live-responses-table .response')
  await answer.waitFor()
  await answer.scrollIntoViewIfNeeded()
  return {
    status: (await answer.locator('.response-col_status').innerText()).trim(),
    body: JSON.parse(await answer.locator('.highlight-code code, .highlight-code pre').first().innerText()),
  }
}

async function assertFits(page) {
  const [content, screen] = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth])
  assert.ok(content <= screen, `${page.url()} is ${content} pixels wide on a screen of ${screen}`)
}

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] })
try {
  for (const [name, device] of Object.entries(devices)) {
    const context = await browser.newContext({ ...device, permissions: ['clipboard-read', 'clipboard-write'] })
    const page = await context.newPage()
    const complaints = []
    page.on('console', (message) => ['error', 'warning'].includes(message.type()) && complaints.push(message.text()))
    page.on('pageerror', (error) => complaints.push(error.message))
    page.on('requestfailed', (request) => complaints.push(`${request.url()} ${request.failure().errorText}`))
    page.on('request', (request) => request.url().startsWith(url) || request.url().startsWith('data:') || complaints.push(request.url()))

    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme })
      await page.goto(url)
      await assertFits(page)
      await page.screenshot({ path: `${folder}/front-${name}-${colorScheme}.png` })
    }
    await page.getByRole('button', { name: 'Copy' }).click()
    await page.getByText('Copied').waitFor()
    const call = await page.evaluate(() => navigator.clipboard.readText())
    assert.ok(call.startsWith(`curl -X POST "${url}/api/v1/customer/customer-match-customer?apiKey=`), call)

    await page.goto(`${url}/errors`)
    await assertFits(page)
    await page.screenshot({ path: `${folder}/errors-${name}.png` })

    await page.emulateMedia({ colorScheme: 'light' })
    await page.goto(`${url}/docs`)
    await page.locator('.opblock').first().waitFor()
    await page.screenshot({ path: `${folder}/docs-${name}-top.png` })
    const match = page.locator('#operations-customer-postApiV1CustomerCustomer-match-customer')
    const { status, body } = await tryItOut(match)
    assert.equal(status, '200')
    assert.equal(body.success, true)
    await assertFits(page)
    await page.screenshot({ path: `${folder}/docs-${name}.png` })
    await page.emulateMedia({ colorScheme: 'dark' })
    await page.screenshot({ path: `${folder}/docs-${name}-dark.png` })

    if (name === 'desktop') {
      await match.locator('.opblock-summary-control').click()
      for (const operation of (await page.locator('.opblock').all()).slice(1)) {
        const { status } = await tryItOut(operation)
        assert.equal(status, '200', await operation.locator('.opblock-summary-path').innerText())
        await operation.locator('.opblock-summary-control').click()
      }
    }

    assert.deepEqual(complaints, [])
    await context.close()
    console.log(`${name}: the match was made, ${JSON.stringify(body)}`)
  }
  const plain = await browser.newContext({ javaScriptEnabled: false })
  const page = await plain.newPage()
  await page.goto(url)
  assert.match(await page.locator('main').innerText(), /curl -X POST/)
  console.log('without JavaScript: the first page has the call')
} finally {
  await browser.close()
}
