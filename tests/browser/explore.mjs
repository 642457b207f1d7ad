// Run by ./run: node explore.mjs DIRECTORY-FOR-SCREENSHOTS
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { devices, inBrowser, inspect, openPage, sample, url } from './browser.mjs'

const trainer = 'trainerPetra0001'
/** Whom the trainer is matched with, on each device another one. */
const contacts = { phone: ['contactRadek0016', 'Radek Šťastný'], desktop: ['contactZuzana015', 'Zuzana Bláhová'] }

/** A call with the sample key, past the page: what another client does meanwhile. */
async function api(method, path, body) {
  const headers = { Authorization: `Bearer ${sample}`, 'Content-Type': 'application/json' }
  const response = await fetch(`${url}/api/v1/customer/${path}`, { method, headers, body: body && JSON.stringify(body) })
  assert.equal(response.status, 200, path)
  return response.json()
}

const match = (manager, other, notice) => api('POST', 'customer-match-customer', { managerCuRefNo: manager, ...other, notice })
const relation = async (manager, customer) => (await api('GET', `relation?managerCuRefNo=${manager}&customerCuRefNo=${customer}`)).relation

/** A new key, made on the command line; of an organisation of its own if that has a name. */
function createKey(organisation, ...options) {
  const run = (...command) => execFileSync(process.env.CUSTOMER_MATCH_BINARY, command, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  const id = organisation ? /\d+/.exec(run('organisation', 'create', organisation))[0] : '1'
  return run('key', 'create', '--organisation', id, '--kind', 'prod', ...options)
}

await inBrowser(async (browser) => {
  for (const [name, device] of Object.entries(devices)) {
    const { page, complaints } = await openPage(browser, device)
    const [added, addedName] = contacts[name]
    const urls = []
    page.on('request', (request) => urls.push(request.url()))
    const heading = (text) => page.getByRole('heading', { level: 1, name: text }).waitFor()
    const relations = page.getByRole('region', { name: 'Relations' })
    const neighbourhood = page.getByRole('region', { name: 'Neighbourhood' })
    const row = (text) => relations.getByRole('row').filter({ hasText: text })
    const dialog = page.getByRole('dialog')
    const press = (button, place = page) => place.getByRole('button', { name: button, exact: true }).click()
    const done = (text) => page.getByRole('status').filter({ hasText: text }).waitFor()
    const settled = () => page.waitForFunction(() => !document.querySelector('[aria-busy], progress'))

    // From the first page to a relation seen from both sides.
    await page.goto(url)
    await page.getByRole('link', { name: 'sample customers' }).click()
    await heading('Petra Dvořáková')
    await row('Jakub Novotný').getByText('Knee injury').waitFor()
    await settled()
    await inspect(page, `explore-customer-${name}`)
    const drawn = await neighbourhood.locator('.picture').innerHTML()
    await page.reload()
    await row('Jakub Novotný').waitFor()
    await settled()
    assert.ok((await neighbourhood.locator('.picture').innerHTML()) === drawn, 'the same data give the same picture')
    await row('Jakub Novotný').getByRole('link').click()
    await heading('Jakub Novotný')
    await row('Petra Dvořáková').getByText('Knee injury').waitFor()
    assert.match(await row('Petra Dvořáková').innerText(), /manager/)
    assert.equal(new URL(page.url()).hash, '#clientJakub00011')

    // Find: the list, a search, its pages, a reference, nothing.
    await page.getByRole('link', { name: 'All customers' }).click()
    await heading('Customers')
    await page.getByText('Page 1').waitFor()
    await inspect(page, `explore-customers-${name}`)
    await press('Next page')
    await page.getByText('Page 2').waitFor()
    await press('Previous page')
    await page.getByText('Page 1').waitFor()
    const search = page.getByRole('searchbox')
    await search.fill('zzz')
    await press('Find')
    await page.getByText('No customer has “zzz”').waitFor()
    await search.fill(trainer)
    await press('Find')
    await page.getByRole('link', { name: `Open customer ${trainer}` }).waitFor()
    await search.fill('dvorakova')
    await press('Find')
    await page.getByRole('link', { name: 'Petra Dvořáková' }).click()
    await heading('Petra Dvořáková')

    // The answer to an earlier search comes last, and is not shown.
    await page.getByRole('link', { name: 'All customers' }).click()
    let answerFirst
    const isLast = new Promise((resolve) => (answerFirst = resolve))
    await page.route('**/list?query=horak*', async (route) => {
      await isLast
      await route.continue()
    })
    await search.fill('horak')
    await press('Find')
    await search.fill('dvorakova')
    await press('Find')
    await page.getByRole('link', { name: 'Petra Dvořáková' }).waitFor()
    const late = page.waitForResponse('**/list?query=horak*')
    answerFirst()
    await (await late).finished()
    await page.evaluate(() => new Promise(requestAnimationFrame))
    assert.equal(await page.getByRole('link', { name: 'Marek Horák' }).count(), 0, 'the earlier search')
    // A fragment that is no reference.
    await page.goto(`${url}/explore#%`)
    await page.getByRole('link', { name: 'INTERNAL_VALIDATION_FAILED' }).waitFor()
    await page.goto(`${url}/explore#${trainer}`)
    await heading('Petra Dvořáková')

    // Filter.
    await relations.getByRole('searchbox').fill('novotny')
    await press('Filter')
    await relations.getByText('1 active').waitFor()
    await relations.getByRole('searchbox').fill('zzz')
    await press('Filter')
    await relations.getByText('No relation matches “zzz”').waitFor()
    await relations.getByRole('searchbox').fill('')
    await press('Filter')
    await row('Jakub Novotný').waitFor()

    // Match, and the call behind it: the same again is a conflict, which the shell gets as well as the page.
    const notice = `It's "new", $HOME; from a ${name}`
    await press('Match with another customer')
    await dialog.getByLabel('Reference number of the other one').fill(added)
    await dialog.getByLabel('Notice').fill(notice)
    await dialog.getByText('API call').click()
    await inspect(page, `explore-match-${name}`)
    await press('Copy', dialog)
    await dialog.getByText('Copied').waitFor()
    const call = await page.evaluate(() => navigator.clipboard.readText())
    assert.ok(call.includes('$KEY') && !call.includes(sample), call)
    await press('Match', dialog)
    await done(`Matched with ${added}`)
    await row(addedName).getByText(notice).waitFor()
    assert.equal((await relation(trainer, added)).notice, notice)
    const shell = () => JSON.parse(execFileSync('sh', ['-c', call], { encoding: 'utf8', env: { ...process.env, KEY: sample }, stdio: ['ignore', 'pipe', 'ignore'] }))
    assert.equal(shell().error.code, 'INTERNAL_PRECONDITION_FAILED')
    await press('Match with another customer')
    await dialog.getByLabel('Reference number of the other one').fill(added)
    await press('Match', dialog)
    await dialog.getByText('The two have a relation already').waitFor()
    await dialog.getByText(notice).waitFor()
    await press('Cancel', dialog)

    // Edit a notice: what another client wrote meanwhile is shown, kept, and overwritten only on request.
    const edit = row(addedName).getByRole('button', { name: `Edit notice: ${addedName}` })
    await edit.click()
    await dialog.getByLabel('Both can see it').fill('mine')
    await match(trainer, { customerCuRefNo: added }, 'of another client')
    await press('Save', dialog)
    await dialog.getByText('The relation has changed').waitFor()
    await dialog.getByText('of another client').waitFor()
    await inspect(page, `explore-conflict-${name}`)
    assert.equal((await relation(trainer, added)).notice, 'of another client')
    await press('Cancel', dialog)
    await edit.click()
    await page.waitForFunction(() => document.querySelector('dialog textarea')?.value === 'of another client')
    await dialog.getByLabel('Both can see it').fill('mine')
    await match(trainer, { customerCuRefNo: added }, 'of another client again')
    await press('Save', dialog)
    await dialog.getByText('of another client again').waitFor()
    await press('Save all the same', dialog)
    await done('is saved')
    assert.equal(await page.evaluate(() => document.activeElement.role), 'status', 'the focus does not get lost')
    await row(addedName).getByText('mine').waitFor()
    const edited = await relation(trainer, added)
    assert.deepEqual([edited.notice, edited.role], ['mine', 'customer'], 'an edit leaves the roles as they are')

    // Unmatch, on the same condition; a match of the two is a conflict with the relation that has ended.
    const unmatch = row(addedName).getByRole('button', { name: `Unmatch: ${addedName}` })
    await unmatch.click()
    await dialog.getByText('API call').waitFor()
    await match(trainer, { customerCuRefNo: added }, 'changed once more')
    await press('Unmatch', dialog)
    await dialog.getByText('changed once more').waitFor()
    assert.equal((await relation(trainer, added)).active, true)
    await press('Unmatch all the same', dialog)
    await done('are unmatched')
    await row(addedName).waitFor({ state: 'detached' })
    await press('Match with another customer')
    await dialog.getByLabel('Reference number of the other one').fill(added)
    await press('Match', dialog)
    await dialog.getByText('ended').waitFor()
    await press('Match all the same', dialog)
    await row(addedName).getByText('changed once more').waitFor()
    await api('POST', 'customer-unmatch-customer', { managerCuRefNo: trainer, customerCuRefNo: added })

    // A match with a new e-mail address, in the other direction an error that says what is wrong.
    await press('Match with another customer')
    await dialog.getByLabel('Reference number of the other one').fill('nonsense')
    await dialog.getByLabel('the manager; this one is the customer').check()
    await press('Match', dialog)
    await dialog.getByRole('link', { name: 'INTERNAL_VALIDATION_FAILED' }).waitFor()
    await dialog.getByLabel('Reference number of the other one').fill(`guest-${name}@post.example`)
    await dialog.getByLabel('the customer; this one is the manager').check()
    await press('Match', dialog)
    await row(`guest-${name}@post.example`).waitFor()

    // The picture in words, and by keyboard.
    await settled()
    await neighbourhood.getByText('The picture as a table').click()
    await neighbourhood.getByRole('row').filter({ has: page.getByRole('link', { name: 'Jakub Novotný' }) }).getByText('Lucie Procházková').waitFor()
    await inspect(page, `explore-picture-${name}`)
    const nodes = neighbourhood.locator('a.node')
    await nodes.first().focus()
    await page.keyboard.press('ArrowRight')
    await page.keyboard.press('End')
    await page.keyboard.press('ArrowLeft')
    const label = await page.evaluate(() => document.activeElement.getAttribute('aria-label'))
    assert.equal(label, await nodes.nth((await nodes.count()) - 2).getAttribute('aria-label'))
    await page.keyboard.press('Enter')
    await heading(label.split(',')[0])

    // Without relations; without the server; without such a customer.
    const { cuRefNo } = await api('POST', 'create', { email: `lonely-${name}@post.example` })
    await page.goto(`${url}/explore#${cuRefNo}`)
    await relations.getByText('It has no active relations').waitFor()
    await neighbourhood.getByText('It has no neighbours yet').waitFor()
    await inspect(page, `explore-empty-${name}`)
    await page.context().setOffline(true)
    await press('Filter')
    await relations.getByText('No answer came').waitFor()
    await inspect(page, `explore-offline-${name}`)
    await page.context().setOffline(false)
    await press('Try again')
    await relations.getByText('It has no active relations').waitFor()
    await page.goto(`${url}/explore#unknown000000000`)
    await page.getByRole('link', { name: 'INTERNAL_RESOURCE_NOT_FOUND' }).waitFor()

    // Other keys: unknown, without a scope, of an organisation without customers. The key stays in the page.
    for (const [key, says] of [
      ['PROD0000000000000000000000000000', 'PUBLIC_API_KEY_DOES_NOT_EXIST'],
      [createKey('', '--scope', 'customer.match'), 'PUBLIC_API_KEY_SCOPE_NOT_ALLOWED'],
      [createKey(`Empty ${name}`), 'This organisation has no customers yet'],
    ]) {
      await press('Forget it')
      await page.goto(`${url}/explore#`)
      await page.getByLabel('API key').fill(key)
      await press('Look around')
      await page.getByText(says).waitFor()
      assert.equal(await page.getByLabel('API key').inputValue(), '')
      assert.ok(!(await page.content()).includes(key), 'the key is not in the document')
    }
    await inspect(page, `explore-no-customers-${name}`)
    await press('Forget it')
    await heading('Explore')
    await inspect(page, `explore-key-${name}`)
    assert.deepEqual(await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie]), [0, 0, ''])
    assert.deepEqual(urls.filter((requested) => requested.includes('PROD')), [], 'the key is in no URL')

    // More relations than fit into the picture.
    if (name === 'desktop') {
      const { cuRefNo: popular } = await api('POST', 'create', { email: 'popular@post.example', companyName: 'Popular' })
      for (let index = 0; index < 230; index += 1) await match(popular, { customerEmail: `fan${index}@post.example` })
      await page.goto(`${url}/explore`)
      await page.goto(`${url}/explore#${popular}`)
      await neighbourhood.getByText('The newest 199 of 230 relations are shown').waitFor()
      assert.equal(await nodes.count(), 199)
      await press('Read how they are related among each other (199 calls)')
      await press('Stop')
      await neighbourhood.getByText(/Stopped: \d+ of 199 lists were read/).waitFor()
      await press('Read them again')
      await neighbourhood.getByText('0 relations among 199 neighbours.').waitFor()
      await inspect(page, `explore-large-${name}`)
    }

    const offline = complaints.filter((complaint) => !complaint.includes('ERR_INTERNET_DISCONNECTED'))
    assert.deepEqual(offline, [])
    await page.context().close()
    console.log(`${name}: every action of /explore, its conflicts, errors and empty states; axe finds nothing`)
  }
})
