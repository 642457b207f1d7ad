/**
 * A call of the API: `{method, path, query, headers, body}`; `query` and `headers` are objects, whose empty values are left out, and
 * `body` is a value to be sent as JSON or a text to be sent as it is.
 */

/** Sends the call with the key in the header, so that no URL has it. A status that is an error is an answer like any other. */
export async function send(call, key, signal) {
  const started = performance.now()
  const response = await fetch(url(call), {
    method: call.method,
    headers: { ...headers(call), ...(key && { Authorization: `Bearer ${key}` }) },
    body: text(call.body),
    cache: 'no-store',
    signal,
  })
  const answer = await response.text()
  const milliseconds = Math.round(performance.now() - started)
  return { status: response.status, reason: response.statusText, headers: response.headers, text: answer, json: parsed(answer), milliseconds }
}

/** The call for a POSIX shell. The key is `$KEY` there, never the key itself. */
export function curl(call, needsKey = true) {
  const parts = [`curl -X ${call.method} ${quoted(url(call))}`]
  if (needsKey) parts.push('-H "Authorization: Bearer $KEY"')
  for (const [name, value] of Object.entries(headers(call))) parts.push(`-H ${quoted(`${name}: ${value}`)}`)
  if (call.body !== undefined) parts.push(`-d ${quoted(text(call.body))}`)
  return parts.join(' \\\n  ')
}

function url(call) {
  const query = new URLSearchParams(present(call.query))
  return `${location.origin}${call.path}${query.size > 0 ? `?${query}` : ''}`
}

function headers(call) {
  const type = call.body === undefined ? {} : { 'Content-Type': 'application/json' }
  return { ...type, ...Object.fromEntries(present(call.headers)) }
}

const present = (values = {}) => Object.entries(values).filter(([, value]) => value != null && value !== '')

const text = (body) => (typeof body === 'string' || body === undefined ? body : JSON.stringify(body))

const quoted = (word) => `'${word.replaceAll("'", String.raw`'\''`)}'`

function parsed(answer) {
  try {
    return JSON.parse(answer)
  } catch {
    return undefined
  }
}
