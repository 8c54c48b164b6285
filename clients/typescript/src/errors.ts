/** The errors of this package. All are `SafelightError`s. */

export class SafelightError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** The URL, the API key or the secret cannot be used. Nothing was sent. */
export class ConfigurationError extends SafelightError {}

/** Safelight does not answer. `hasAnswered`: whether it answered an earlier request of this client. */
export class ConnectionFailed extends SafelightError {
  constructor(
    readonly url: string,
    readonly reason: string,
    readonly hasAnswered: boolean,
    options?: ErrorOptions,
  ) {
    super(`${url} ${reason}.`, options);
  }
}

/** The server's response is not one of Safelight's: the URL may be that of another server. */
export class UnexpectedResponse extends SafelightError {
  constructor(
    readonly url: string,
    readonly status: number,
  ) {
    super(`${url} answered ${status}, but not as Safelight.`);
  }
}

/** An error in a response of the API. `code` and `param` say what is wrong; `requestId` finds it in the server's log. */
export class APIError extends SafelightError {
  constructor(
    message: string,
    readonly status: number,
    readonly code: string | null,
    readonly param: string | null,
    readonly requestId: string | null,
    /** Seconds after which a repetition may succeed. */
    readonly retryAfter: number | null,
  ) {
    super(message);
  }
}

/** The request is wrong (400, 413, 415, 422 and others); `param` names the field. Nothing was stored. */
export class BadRequest extends APIError {}
/** The API key is missing or not valid (401). */
export class AuthenticationFailed extends APIError {}
/** The API key lacks the scope of this call (403). */
export class PermissionDenied extends APIError {}
/** The object does not exist, or no longer (404). */
export class NotFound extends APIError {}
/** The state of the object does not allow this call, or an idempotency key is in use (409). */
export class Conflict extends APIError {}
/** A limit of your key or project is reached (429); `retryAfter` says for how long. */
export class TooManyRequests extends APIError {}
/** Safelight or a part that it needs has failed (5xx). */
export class ServerError extends APIError {}

/** The time for waiting is over; the job or batch goes on. */
export class WaitTimeout extends SafelightError {}

/** A job ended without images. `status`: `failed`, `cancelled` or `expired`. `code`: of its error, if it failed. */
export class JobFailed extends SafelightError {
  constructor(
    message: string,
    readonly jobId: string,
    readonly status: string,
    readonly code: string | null,
  ) {
    super(message);
  }
}

/** A batch ended, and not all of its lines completed. */
export class BatchFailed extends SafelightError {
  constructor(
    message: string,
    readonly batchId: string,
    readonly status: string,
  ) {
    super(message);
  }
}

/** The SHA-256 of a download is wrong. */
export class DownloadDamaged extends SafelightError {
  constructor(readonly imageId: string) {
    super(`The download of ${imageId} is damaged: its SHA-256 differs.`);
  }
}

/** A webhook is not signed with the secret, or its timestamp is more than five minutes from now. */
export class SignatureInvalid extends SafelightError {}

const KINDS: Record<number, typeof APIError> = {
  401: AuthenticationFailed,
  403: PermissionDenied,
  404: NotFound,
  409: Conflict,
  429: TooManyRequests,
};

/** The error in a response with a status of 400 or above. */
export async function errorOf(response: Response): Promise<APIError | UnexpectedResponse> {
  let body: { message?: unknown; code?: string | null; param?: string | null } | undefined;
  try {
    body = ((await response.json()) as { error?: typeof body }).error;
  } catch {
    body = undefined;
  }
  if (typeof body?.message !== "string") return new UnexpectedResponse(withoutQuery(response.url), response.status);
  const Kind = KINDS[response.status] ?? (response.status >= 500 ? ServerError : BadRequest);
  return new Kind(
    body.message,
    response.status,
    body.code ?? null,
    body.param ?? null,
    response.headers.get("x-request-id"),
    secondsOf(response.headers.get("retry-after")),
  );
}

function secondsOf(text: string | null): number | null {
  return text !== null && /^\d+$/.test(text) ? Number(text) : null;
}

export function withoutQuery(url: string): string {
  return url.replace(/[?#].*$/, "");
}
