# The service's description of itself.

#' Read an OpenAPI file
#'
#' @param path A YAML file.
#' @return Nested list in which a sequence is a list (so that one element stays an array in JSON)
#'   and "n" or "y" stay the names they are.
read_openapi <- function(path) {
  yaml::read_yaml(path, handlers = list(
    seq = function(x) as.list(x),
    map = function(x) if (length(x)) x else structure(list(), names = character()),
    "bool#no" = function(x) if (x == "false") FALSE else x,
    "bool#yes" = function(x) if (x == "true") TRUE else x
  ))
}

#' The whole description: what every service has, and what this one adds
#'
#' @param common,service Paths of the two YAML files; the service's entries come on top.
#' @return Nested list, ready for `to_json()`.
openapi_document <- function(common, service) {
  utils::modifyList(read_openapi(common), read_openapi(service))
}
