# Ability in a topic: the student's general ability plus a deviation of that topic's own, theta + u, u ~ N(0,
# tau^2) independent over topics (a testlet model with fixed item parameters; Bradlow, Wainer and Wang 1999).

#' Abilities by topic
#'
#' The prior of a topic is what the *other* topics say about theta, widened by tau^2, so that no answer counts
#' twice.
#'
#' @param answers what [index_responses()] returns.
#' @param items list of `a`, `d`, `c` of `answers$items`.
#' @param topics data frame of `item_id`, `topic_id`; answers to items without a topic are left out.
#' @param latent list of `mean`, `sd`.
#' @param nodes abilities (length Q).
#' @param topic_sd tau, or `NULL`: the mode of its marginal posterior under log tau ~ N(log 0.3, 0.7^2),
#'   within 0.05 and 1.5, which decides for a handful of students and gives way to thirty.
#' @return list of `topic_abilities` (columns `student_id`, `topic_id`, `theta`, the posterior mean, `se`, the
#'   posterior sd, `n_responses`), sorted, and `topic_sd`.
#' @section Errors: `unprocessable` when no answer is on an item with a topic.
topic_abilities <- function(answers, items, topics, latent, nodes, topic_sd) {
  topic_names <- sort(unique(topics$topic_id), method = "radix")
  topic <- match(topics$topic_id[match(answers$items, topics$item_id)], topic_names)[answers$item]
  rows <- which(!is.na(topic))
  require_value(length(rows) > 0L, "topics", "has none of the answered items")
  pair <- answers$student[rows] + (topic[rows] - 1) * length(answers$students)
  pairs <- sort(unique(pair))
  student <- as.integer((pairs - 1) %% length(answers$students)) + 1L
  student <- match(student, sort(unique(student)))
  log_p <- log_probabilities(items, nodes)
  outcomes <- outcome_matrix(list(
    students = pairs, items = answers$items, student = match(pair, pairs), item = answers$item[rows],
    correct = answers$correct[rows]
  ))
  log_likelihood <- as.matrix(outcomes %*% rbind(log_p$right, log_p$wrong))
  prior <- latent_log_weights(nodes, latent)

  if (is.null(topic_sd)) topic_sd <- estimated_topic_sd(log_likelihood, student, prior, nodes)
  spread <- deviation_kernel(nodes, topic_sd)
  about_theta <- about_general_ability(log_likelihood, spread)
  others <- rowsum(about_theta, student)[student, , drop = FALSE] - about_theta +
    rep(prior, each = length(student))
  topic_prior <- exp(others - row_max(others)) %*% spread
  joint <- log(pmax(topic_prior, .Machine$double.xmin)) + log_likelihood
  posterior <- exp(joint - row_max(joint))
  abilities <- expected_abilities(posterior / rowSums(posterior), nodes)
  columns <- data.frame(
    student_id = answers$students[(pairs - 1) %% length(answers$students) + 1],
    topic_id = topic_names[(pairs - 1) %/% length(answers$students) + 1],
    abilities, n_responses = tabulate(match(pair, pairs), length(pairs))
  )
  list(
    topic_abilities = as.list(columns[order(columns$student_id, columns$topic_id, method = "radix"), ]),
    topic_sd = topic_sd
  )
}

estimated_topic_sd <- function(log_likelihood, student, prior, nodes) {
  loss <- function(log_sd) {
    joint <- rowsum(about_general_ability(log_likelihood, deviation_kernel(nodes, exp(log_sd))), student) +
      rep(prior, each = max(student))
    highest <- row_max(joint)
    -sum(highest + log(rowSums(exp(joint - highest)))) - dnorm(log_sd, log(0.3), 0.7, log = TRUE)
  }
  exp(optimize(loss, log(c(0.05, 1.5)), tol = 1e-3)$minimum)
}

#' P(theta + u = node r | theta = node q): Q x Q, rows sum to one
#' @param nodes abilities (length Q).
#' @param topic_sd sd of u.
deviation_kernel <- function(nodes, topic_sd) {
  density <- dnorm(outer(nodes, nodes, "-"), sd = topic_sd)
  density / rowSums(density)
}

#' Log P(a topic's answers | theta), the deviation summed out
#' @param log_likelihood of the answers given ability in the topic, pairs x Q.
#' @param spread what [deviation_kernel()] returns.
about_general_ability <- function(log_likelihood, spread) {
  highest <- row_max(log_likelihood)
  log(pmax(exp(log_likelihood - highest) %*% t(spread), .Machine$double.xmin)) + highest
}

row_max <- function(x) x[cbind(seq_len(nrow(x)), max.col(x, "first"))]
