// Matches two customers: node node.mjs [managerCuRefNo customerCuRefNo]
import { setTimeout as sleep } from 'node:timers/promises'

const url = process.env.CUSTOMER_MATCH_URL ?? 'http://127.0.0.1:8080'
const key = process.env.CUSTOMER_MATCH_KEY ?? 'PRODPGrFxpGEtrOZfuWhnoJohUYBXuOE'
const [managerCuRefNo = '1cGIHvFoQDGLAbcA', customerCuRefNo = '5CmsaVNgAQqRqoen'] = process.argv.slice(2)

class ApiError extends Error {
  constructor({ code, message, description, field }, requestId) {
    super(`${code}: ${message} ${description}`)
    Object.assign(this, { code, field, requestId })
  }
}

/** Posts to an endpoint; a server that is busy is asked again when it says so. Any call may be sent again. */
async function post(path, body, attempts = 5) {
  for (let attempt = 1; ; attempt++) {
    const response = await fetch(url + path, {
      method: 'POST',
      // The key goes as a header: an address ends up in logs.
      headers: { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(30_000),
    })
    const answer = await response.json()
    if (response.ok) return answer
    if (![429, 503].includes(response.status) || attempt === attempts) {
      throw new ApiError(answer.error, response.headers.get('X-Request-Id'))
    }
    await sleep(1000 * Number(response.headers.get('Retry-After') ?? 1))
  }
}

try {
  const notice = 'Customer prefers cardio training. Contact obtained via the website.'
  const answer = await post('/api/v1/customer/customer-match-customer', { managerCuRefNo, customerCuRefNo, notice })
  console.log(`matched: ${JSON.stringify(answer)}`)
} catch (error) {
  process.exitCode = 1
  switch (error.code) {
    case 'INTERNAL_RESOURCE_NOT_FOUND':
      console.error(`${error.message}: one of the two customers does not exist`)
      break
    case 'INTERNAL_VALIDATION_FAILED':
      console.error(`${error.message} (${error.field}): sending it again will not help`)
      break
    case 'PUBLIC_API_KEY_TOO_MANY_REQUEST':
    case 'INTERNAL_SERVICE_UNAVAILABLE':
      console.error(`${error.message}: still busy, try again later`)
      break
    case 'PUBLIC_API_KEY_DOES_NOT_EXIST':
    case 'PUBLIC_API_KEY_HAS_BEEN_DELETED':
    case 'PUBLIC_API_KEY_HAS_BEEN_EXPIRED':
      console.error(`${error.message}: a new API key is needed`)
      break
    default:
      console.error(`${error.message} (request ${error.requestId})`)
  }
}
