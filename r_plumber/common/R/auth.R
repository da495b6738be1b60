# Who may ask.

PUBLIC_PATHS <- c("/healthz", "/readyz")

#' A test of Authorization headers against one token
#'
#' Both sides are hashed under a key that is new in every process before they are compared, so the
#' time a comparison takes says nothing about the token.
#'
#' @param token The token, or NULL when everybody may ask.
#' @return function(header) -> logical; `header` is the Authorization header or NULL.
token_check <- function(token) {
  if (is.null(token)) return(function(header) TRUE)
  key <- sodium::random(32)
  digest <- function(text) sodium::data_tag(charToRaw(text), key)
  expected <- digest(token)
  function(header) {
    given <- if (is.null(header)) "" else sub("^bearer +", "", header, ignore.case = TRUE)
    is_bearer <- !is.null(header) && grepl("^bearer +", header, ignore.case = TRUE)
    identical(digest(given), expected) && is_bearer
  }
}
