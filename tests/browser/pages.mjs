// Run by ./run: node pages.mjs DIRECTORY-FOR-SCREENSHOTS
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { devices, inBrowser, inspect, openPage, url } from './browser.mjs'

const success = '{"success":true}'

/** Sends an operation of /docs as it is filled in. */
async function tryItOut(operation) {
  await operation.getByRole('button', { name: 'Send' }).click()
  const output = operation.locator('output')
  await output.getByText('Headers', { exact: true }).waitFor()
  return { status: await output.locator('strong').innerText(), body: JSON.parse(await output.locator('pre').first().innerText()) }
}

await inBrowser(async (browser) => {
  for (const [name, device] of Object.entries(devices)) {
    const { page, complaints } = await openPage(browser, device)

    await page.goto(url)
    await inspect(page, `home-${name}`)
    for (const language of ['curl', 'fetch', 'Python']) {
      await page.getByLabel(language, { exact: true }).check()
      await page.getByRole('button', { name: 'Copy' }).click()
      await page.getByRole('status').getByText('Copied').waitFor()
      const call = await page.evaluate(() => navigator.clipboard.readText())
      assert.ok(call.includes(`${url}/api/v1/customer/customer-match-customer`), call)
      if (language === 'fetch') {
        const answer = page.waitForEvent('console')
        await page.evaluate(`(async () => {${call}})()`)
        assert.equal((await answer).text(), success)
      } else {
        const answer = execFileSync(language === 'curl' ? 'sh' : 'python3', ['-c', call], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
        assert.equal(answer.trim(), success)
      }
    }

    await page.goto(`${url}/errors`)
    await page.getByRole('navigation', { name: 'Codes' }).getByRole('link', { name: 'INTERNAL_ERROR' }).click()
    await inspect(page, `errors-${name}`)
    await page.getByRole('heading').getByRole('link', { name: 'INTERNAL_ERROR' }).click()
    await page.getByText('HTTP/1.1 500 Internal Server Error').waitFor()
    await inspect(page, `error-${name}`)

    await page.goto(`${url}/nowhere`)
    await page.getByRole('heading', { name: 'There is no such page' }).waitFor()
    await inspect(page, `not-found-${name}`)

    await page.goto(`${url}/docs`)
    const operations = page.locator('.operation')
    await operations.first().waitFor()
    await page.getByText('What all calls have in common').click()
    await operations.first().getByText('Answers').click()
    const match = await tryItOut(operations.first())
    assert.deepEqual([match.status, match.body], ['200 OK', { success: true }])
    await inspect(page, `docs-${name}`)
    // The demo is as usable after all of them as before.
    for (const again of [false, true]) {
      for (const operation of await operations.all()) {
        const { status, body } = await tryItOut(operation)
        const path = await operation.getByRole('heading').innerText()
        assert.equal(status, '200 OK', path)
        if (path.includes('matched-customer-list')) assert.ok(body.items.length > 0, `${path}, ${again ? 'again' : 'first'}`)
      }
    }

    assert.deepEqual(complaints, [])
    await page.context().close()
    console.log(`${name}: each call answers as printed, every operation can be tried, axe finds nothing`)
  }

  const page = await (await browser.newContext({ javaScriptEnabled: false })).newPage()
  await page.goto(url)
  assert.match(await page.locator('main').innerText(), /curl -X POST/)
  console.log('without JavaScript: the first page has the call')
})
