/** Client of Safelight, a self-hosted, asynchronous image-generation service. */

export { Batch, type BatchEstimate, type BatchEvent, type BatchInput, type BatchRequest, type Erasure } from "./batches.js";
export { Safelight } from "./client.js";
export {
  APIError, AuthenticationFailed, BadRequest, BatchFailed, ConfigurationError, Conflict, ConnectionFailed, DownloadDamaged,
  JobFailed, NotFound, PermissionDenied, SafelightError, ServerError, SignatureInvalid, TooManyRequests, UnexpectedResponse,
  WaitTimeout,
} from "./errors.js";
export type { FileObject, UploadOptions } from "./files.js";
export { Image, Job, type Estimate, type JobEvent, type JobQuery, type JobRequest, type Preview, type SubmitOptions, type WaitOptions } from "./jobs.js";
export type { components } from "./openapi.js";
export type { Options, RequestOptions } from "./transport.js";
export { unwrap, type WebhookEvent } from "./webhooks.js";
