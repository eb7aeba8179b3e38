/** Keys of a URL's query whose values nobody should read, as the source of a regular expression: `token`, `srt_passphrase`, `sig`. */
export const SECRET_KEYS = '[a-z_-]*(?:pass(?:word|wd|phrase)?|pwd|pw|token|key|auth|secret|sig(?:nature)?)';
