# Start one service: Rscript r_plumber/common/serve.R <service> --port 8001

script <- sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))
root <- dirname(dirname(normalizePath(script)))
for (path in list.files(file.path(root, "common", "R"), "\\.R$", full.names = TRUE)) source(path)

parser <- optparse::OptionParser(
  usage = "Rscript %prog SERVICE [options]",
  option_list = list(
    optparse::make_option("--host", default = "127.0.0.1", help = "address to listen on [%default]"),
    optparse::make_option("--port", type = "integer", default = 8001L, help = "port to listen on [%default]"),
    optparse::make_option("--workers", type = "integer", default = 1L,
                          help = "jobs done at the same time [%default]"),
    optparse::make_option("--services", default = root, metavar = "FOLDER",
                          help = "folder of the services [the one this script is in]"),
    optparse::make_option("--insecure", action = "store_true", default = FALSE,
                          help = "go without a token; on a loopback address only")
  ),
  description = "\nRun one R service. SERVICE is the name of a folder that holds a plumber.R, such as irt.",
  epilogue = paste0(
    "Environment:\n  R_<SERVICE>_INTERNAL_TOKEN   bearer token that clients must show\n",
    paste0(collapse = "\n", Map(function(variable, limit) {
      sprintf("  %-28s %s [%.0f]", variable, limit$meaning, limit$default)
    }, names(LIMITS), LIMITS))
  )
)
given <- optparse::parse_args(parser, positional_arguments = TRUE)
service <- given$args
options <- given$options

start_logging()
tryCatch(
  {
    available <- basename(dirname(Sys.glob(file.path(options$services, "*", "plumber.R"))))
    if (!(length(service) == 1L && service %in% available)) {
      stop("Name one service of: ", toString(available), ". See --help.", call. = FALSE)
    }
    if (is.na(options$workers) || options$workers < 1L) stop("--workers must be at least 1.", call. = FALSE)
    token <- take_token(service, options$host, options$insecure)
    run_service(
      file.path(options$services, service), file.path(root, "common"), options$host, options$port,
      options$workers, token, read_limits()
    )
  },
  interrupt = function(condition) log_event("stopped", reason = "interrupt"),
  error = function(e) {
    log_event("error", message = conditionMessage(e), level = logger::FATAL)
    quit(status = 1L)
  }
)
