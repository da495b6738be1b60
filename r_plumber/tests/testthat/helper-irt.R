# The engine without its service, published data, and simulated answers.

service_root <- testthat::test_path("..", "..")
engine_files <- list.files(file.path(service_root, "irt", "R"), pattern = "[.]R$", full.names = TRUE)
for (file in c(file.path(service_root, "common", "R", "problem.R"), engine_files)) {
  source(file, local = TRUE)
}

# Response patterns and how many of 1,000 students gave them, as long answers.
answers_of_patterns <- function(patterns) {
  parts <- strsplit(strsplit(patterns, "[ \n]+")[[1]], ":")
  pattern <- strsplit(vapply(parts, `[`, "", 1), "")
  count <- as.integer(vapply(parts, `[`, "", 2))
  correct <- do.call(rbind, rep(pattern, count)) == "1"
  data.frame(
    student_id = sprintf("s%04d", row(correct)), item_id = sprintf("i%02d", col(correct)),
    correct = as.vector(correct)
  )
}

# Two sections of the Law School Admission Test (Bock and Lieberman 1970).
lsat6 <- answers_of_patterns(paste(
  "00000:3 00001:6 00010:2 00011:11 00100:1 00101:1 00110:3 00111:4 01000:1 01001:8 01011:16 01101:3",
  "01110:2 01111:15 10000:10 10001:29 10010:14 10011:81 10100:3 10101:28 10110:15 10111:80 11000:16",
  "11001:56 11010:21 11011:173 11100:11 11101:61 11110:28 11111:298"
))
lsat7 <- answers_of_patterns(paste(
  "00000:12 00001:19 00010:1 00011:7 00100:3 00101:19 00110:3 00111:17 01000:10 01001:5 01010:3 01011:7",
  "01100:7 01101:23 01110:8 01111:28 10000:7 10001:39 10010:11 10011:34 10100:14 10101:51 10110:15",
  "10111:90 11000:6 11001:25 11010:7 11011:35 11100:18 11101:136 11110:32 11111:308"
))

# Marginal log-likelihood of each student from its definition: the engine's outside truth.
marginal_log_liks <- function(responses, a, d, latent_sd = 1, latent_mean = 0, c = 0 * a) {
  nodes <- seq(-6, 6, length.out = 61)
  weights <- dnorm(nodes, latent_mean, latent_sd)
  item <- match(responses$item_id, sort(unique(responses$item_id)))
  of_student <- function(rows) {
    likelihood <- weights / sum(weights)
    for (row in rows) {
      p <- c[item[row]] + (1 - c[item[row]]) / (1 + exp(-a[item[row]] * nodes - d[item[row]]))
      likelihood <- likelihood * if (responses$correct[row]) p else 1 - p
    }
    log(sum(likelihood))
  }
  vapply(split(seq_along(item), responses$student_id), of_student, 0)
}
marginal_log_lik <- function(...) sum(marginal_log_liks(...))

# Published tables and other programs' estimates lie beside the checkout, where they are there at all.
beside_checkout <- function(...) {
  path <- file.path(service_root, "..", "..", "shared", ...)
  testthat::skip_if_not(file.exists(path), paste(file.path(...), "is not beside the checkout"))
  path
}
