// What the tests of the pages share: devices, and what must hold of every page.
import assert from 'node:assert/strict'
import axe from 'axe-core'
import { chromium } from 'playwright-core'

export const url = process.env.CUSTOMER_MATCH_URL
export const sample = 'PRODPGrFxpGEtrOZfuWhnoJohUYBXuOE'
const screenshots = process.argv[2]

export const devices = {
  phone: { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 },
  desktop: { viewport: { width: 1280, height: 800 } },
}

/** Runs the test in a browser, and ends that; of a failure there is a screenshot. */
export async function inBrowser(test) {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] })
  try {
    await test(browser)
  } catch (error) {
    await browser.contexts().at(-1)?.pages().at(-1)?.screenshot({ path: `${screenshots}/failure.png` })
    throw error
  } finally {
    await browser.close()
  }
}

/**
 * A page of that device, and what the browser complains of in it: scripts, the policy, files that do not load, other hosts. The browser
 * reports each answer that is an error too; those are left out, as some are provoked.
 */
export async function openPage(browser, device) {
  const context = await browser.newContext({ ...device, permissions: ['clipboard-read', 'clipboard-write'] })
  const page = await context.newPage()
  const complaints = []
  page.on('console', (message) => {
    const isAnswer = message.text().startsWith('Failed to load resource: the server responded')
    if (['error', 'warning'].includes(message.type()) && !isAnswer) complaints.push(message.text())
  })
  page.on('pageerror', (error) => complaints.push(error.message))
  page.on('request', (request) => request.url().startsWith(url) || complaints.push(request.url()))
  page.on('response', (response) => response.url().startsWith(`${url}/api/`) || response.status() < 400 || response.request().isNavigationRequest() || complaints.push(response.url()))
  return { page, complaints }
}

/** In both colour schemes: nothing is wider than the screen, axe finds nothing; and takes screenshots. */
export async function inspect(page, name) {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme })
    const [content, screen] = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth])
    assert.ok(content <= screen, `${page.url()} is ${content} pixels wide on a screen of ${screen}`)
    await page.screenshot({ path: `${screenshots}/${name}-${colorScheme}.png`, fullPage: true })
    await page.evaluate(axe.source)
    const { violations } = await page.evaluate(() => axe.run())
    const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target, failureSummary }) => `${target} ${failureSummary}`).join('; ')}`)
    assert.deepEqual(found, [], `${name} in ${colorScheme}`)
  }
}
