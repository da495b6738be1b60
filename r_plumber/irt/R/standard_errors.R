# Standard errors from the observed information (Louis 1982, Finding the observed information matrix when
# using the EM algorithm):
#
#   observed information = complete-data information - sum over students of Cov(score | answers)
#                          + negative second derivative of the log prior
#
# where the score of a student is the gradient of the joint log-likelihood of the answers and the ability. The
# parameters stand in the order of the estimates: d, a, g = logit c of the estimated items, then the groups'
# free means, then their free log sds.

#' Standard errors of the estimates
#'
#' Those of b, c and the sd follow by the delta method.
#'
#' @param method "none", "full" or "block", see [calibrate()].
#' @param sample what [gather_sample()] returns.
#' @param estimates,known see parameters.R.
#' @param nodes abilities (length Q).
#' @param priors see [log_prior()].
#' @return list of `items` (`se_a`, `se_b`, `se_c`, `cov_ab`, `cov_ac`, `cov_bc`, length J) and `latent`
#'   (`se_mean`, `se_sd`, length G); `NA` where there is none.
estimation_errors <- function(method, sample, estimates, known, nodes, priors) {
  items <- items_at(estimates, known)
  latent <- latent_at(estimates, known)
  covariance <- if (method != "none") {
    scores <- score_tables(items, latent, known, nodes)
    parts <- information_parts(method, sample, items, latent, known, scores, nodes)
    complete <- complete_information(parts, items, latent, known, scores, nodes, priors)
    invert <- if (method == "full") full_covariance else block_covariance
    invert(complete, parts$missing)
  }
  list(
    items = item_errors(covariance$items, items, known),
    latent = latent_errors(covariance$latent, latent, known)
  )
}

item_errors <- function(covariance, items, known) {
  positions <- match(c("d", "a", "g"), known$free)
  of <- function(k, l) {
    values <- rep(NA_real_, length(items$a))
    if (!is.null(covariance) && !anyNA(positions[c(k, l)])) {
      values[known$estimated] <- covariance[, positions[k], positions[l]]
    }
    values
  }
  b <- -items$d / items$a
  per_g <- items$c * (1 - items$c)
  variance_b <- if ("a" %in% known$free) of(1, 1) + 2 * b * of(1, 2) + b^2 * of(2, 2) else of(1, 1)
  list(
    se_a = sqrt(of(2, 2)), se_b = sqrt(variance_b) / abs(items$a), se_c = sqrt(of(3, 3)) * per_g,
    cov_ab = -(of(1, 2) + b * of(2, 2)) / items$a, cov_ac = of(2, 3) * per_g,
    cov_bc = -(of(1, 3) + b * of(2, 3)) / items$a * per_g
  )
}

latent_errors <- function(variance, latent, known) {
  errors <- list(se_mean = NA_real_ * latent$mean, se_sd = NA_real_ * latent$sd)
  if (!is.null(variance)) {
    free <- list(mean = which(is.na(known$latent$mean)), sd = which(is.na(known$latent$sd)))
    errors$se_mean[free$mean] <- sqrt(variance[seq_along(free$mean)])
    errors$se_sd[free$sd] <- latent$sd[free$sd] * sqrt(variance[length(free$mean) + seq_along(free$sd)])
  }
  errors
}

#' Scores of one answer and of an ability at each node, for the parameters that are estimated
#'
#' @param items list of `a`, `d`, `c`, of all items.
#' @param latent list of `mean`, `sd` (length G).
#' @inheritParams estimation_errors
#' @return list of `right`, `wrong` (J x Q x K arrays over the estimated items) and `latent`, a list with an
#'   element for each free mean and log sd: `group`, and its `score` at each node.
score_tables <- function(items, latent, known, nodes) {
  tables <- lapply(answer_scores(at_items(items, known$estimated), nodes, known$free), function(scores) {
    array(unlist(scores), c(sum(known$estimated), length(nodes), length(known$free)))
  })
  of_group <- function(score) {
    function(group) {
      list(group = group, score = score((nodes - latent$mean[group]) / latent$sd[group], latent$sd[group]))
    }
  }
  c(tables, list(latent = c(
    lapply(which(is.na(known$latent$mean)), of_group(function(z, sd) z / sd)),
    lapply(which(is.na(known$latent$sd)), of_group(function(z, sd) z^2 - 1))
  )))
}

#' One more pass over the students: expected counts, and what the answers do not say
#'
#' @inheritParams estimation_errors
#' @inheritParams score_tables
#' @param scores what [score_tables()] returns.
#' @return list of `counts`, `mass` (see [expectation()]) and `missing`: the K x K matrix of
#'   [missing_information()], or for "block" a list of `items` (J x K x K) and `latent` (its diagonal).
information_parts <- function(method, sample, items, latent, known, scores, nodes) {
  parts <- expectation(sample, items, latent, nodes)
  estimated <- which(known$estimated)
  missing <- lapply(sample$chunks, function(stored) {
    chunk <- restored(stored)
    posterior <- posterior_distribution(chunk$outcomes, items, latent, nodes, chunk$group)$posterior
    answers <- answers_in(chunk$outcomes)
    answers$item <- match(answers$item, estimated)
    answers <- lapply(answers, `[`, !is.na(answers$item))
    if (method == "full") {
      missing_information(answers, posterior, scores, chunk$group, chunk$weight, nodes)
    } else {
      explained_blocks(answers, posterior, scores, chunk$group, chunk$weight)
    }
  })
  parts$counts <- lapply(parts$counts, function(table) table[estimated, , drop = FALSE])
  if (method == "full") {
    parts$missing <- Reduce(`+`, missing)
  } else {
    explained <- Reduce(function(x, y) Map(`+`, x, y), missing)
    parts$missing <- Map(`-`, score_moments(scores, parts$counts, parts$mass), explained)
  }
  parts
}

#' Sums of products of the scores' posterior means, item by item
#'
#' @inheritParams missing_information
#' @return list of `items` (J x K x K) and `latent` (one for each latent parameter).
explained_blocks <- function(answers, posterior, scores, group, weight) {
  means <- integrate_answers(answers, t(posterior), scores)
  n_items <- dim(scores$right)[1]
  size <- ncol(means)
  products <- array(0, c(n_items, size, size))
  present <- sort(unique(answers$item))
  for (k in seq_len(size)) {
    for (l in seq_len(k)) {
      sums <- rowsum(weight[answers$student] * means[, k] * means[, l], answers$item)
      products[present, k, l] <- products[present, l, k] <- sums
    }
  }
  of_latent <- vapply(scores$latent, function(parameter) {
    members <- group == parameter$group
    sum(weight[members] * (posterior[members, , drop = FALSE] %*% parameter$score)^2)
  }, 0)
  list(items = products, latent = of_latent)
}

#' Sums of the posterior means of score times score, item by item
#'
#' They need the expected counts only, not the answers.
#'
#' @param scores what [score_tables()] returns.
#' @param counts,mass see [expectation()], of the estimated items.
#' @return like [explained_blocks()].
score_moments <- function(scores, counts, mass) {
  size <- dim(scores$right)[3]
  moments <- array(0, c(nrow(counts$right), size, size))
  for (k in seq_len(size)) {
    for (l in seq_len(k)) {
      right <- counts$right * scores$right[, , k] * scores$right[, , l]
      wrong <- counts$wrong * scores$wrong[, , k] * scores$wrong[, , l]
      moments[, k, l] <- moments[, l, k] <- rowSums(right + wrong)
    }
  }
  list(
    items = moments,
    latent = vapply(scores$latent, function(parameter) sum(mass[parameter$group, ] * parameter$score^2), 0)
  )
}

#' Complete-data information, priors included
#'
#' The negative second derivative of an answer's log probability is score times score - (x - P) P'' / (P (1 -
#' P)). With known = s / P and guessed = c / P the last factor is known (1 - 2 s) for d and d, theta times
#' that for a, -known c for d and g, guessed (1 - 2 c) for g and g.
#'
#' @inheritParams information_parts
#' @inheritParams estimation_errors
#' @param parts what [information_parts()] returns.
#' @return list of `items` (J x K x K) and `latent`, a matrix over the latent parameters.
complete_information <- function(parts, items, latent, known, scores, nodes, priors) {
  items <- at_items(items, known$estimated)
  residual <- parts$counts$right -
    (parts$counts$right + parts$counts$wrong) * exp(log_probabilities(items, nodes)$right)
  ratios <- score_ratios(items, nodes, c("d", "g"))
  logistic <- plogis(outer(items$a, nodes) + items$d)
  curvature <- list(
    dd = ratios$d * (1 - 2 * logistic), dg = -ratios$d * items$c, gg = ratios$g * (1 - 2 * items$c)
  )
  power <- c(d = 0, a = 1, g = 0)
  information <- score_moments(scores, parts$counts, parts$mass)$items
  prior <- log_prior_derivatives(items, priors)$curvature
  for (k in seq_along(known$free)) {
    for (l in seq_along(known$free)) {
      pair <- known$free[c(k, l)]
      kind <- c("dd", "dg", "gg")[sum(pair == "g") + 1L]
      bent <- residual * curvature[[kind]]
      information[, k, l] <- information[, k, l] - drop(bent %*% nodes^sum(power[pair]))
    }
    information[, k, k] <- information[, k, k] + prior[[known$free[k]]]
  }
  list(items = information, latent = complete_latent_information(parts$mass, latent, known, nodes))
}

complete_latent_information <- function(mass, latent, known, nodes) {
  groups <- list(mean = which(is.na(known$latent$mean)), log_sd = which(is.na(known$latent$sd)))
  names <- data.frame(
    group = unlist(groups, use.names = FALSE), kind = rep(names(groups), lengths(groups))
  )
  information <- matrix(0, nrow(names), nrow(names))
  for (k in seq_len(nrow(names))) {
    for (l in which(names$group == names$group[k])) {
      group <- names$group[k]
      z <- (nodes - latent$mean[group]) / latent$sd[group]
      bent <- switch(sum(names$kind[c(k, l)] == "log_sd") + 1L,
        rep(1 / latent$sd[group]^2, length(z)), 2 * z / latent$sd[group], 2 * z^2
      )
      information[k, l] <- sum(mass[group, ] * bent)
    }
  }
  information
}

#' Covariances of the estimates from the whole information matrix
#'
#' @param complete what [complete_information()] returns.
#' @param missing K x K matrix of [missing_information()].
#' @return list of `items` (J x K x K) and `latent` (variances); all `NA` when the information is not positive
#'   definite.
full_covariance <- function(complete, missing) {
  n_items <- dim(complete$items)[1]
  size <- dim(complete$items)[2]
  at <- function(k) (k - 1L) * n_items + seq_len(n_items)
  information <- -missing
  for (k in seq_len(size)) {
    for (l in seq_len(size)) {
      place <- cbind(at(k), at(l))
      information[place] <- information[place] + complete$items[, k, l]
    }
  }
  of_latent <- n_items * size + seq_len(nrow(complete$latent))
  information[of_latent, of_latent] <- information[of_latent, of_latent] + complete$latent
  covariance <- tryCatch(
    chol2inv(chol(information)),
    error = function(not_positive_definite) matrix(NA_real_, nrow(information), ncol(information))
  )
  items <- complete$items
  for (k in seq_len(size)) for (l in seq_len(size)) items[, k, l] <- covariance[cbind(at(k), at(l))]
  list(items = items, latent = diag(covariance)[of_latent])
}

#' Covariances of the estimates from each item's own block of the information matrix
#'
#' @param complete what [complete_information()] returns.
#' @param missing list of `items` and `latent` of [information_parts()].
#' @return like [full_covariance()]; `NA` where a block is not positive definite.
block_covariance <- function(complete, missing) {
  information <- complete$items - missing$items
  size <- dim(information)[2]
  items <- information
  for (k in seq_len(size)) {
    unit <- matrix(diag(size)[k, ], nrow(information), size, byrow = TRUE)
    items[, k, ] <- solve_each(information, unit)
  }
  items[!is.finite(items)] <- NA
  latent <- diag(complete$latent) - missing$latent
  list(items = items, latent = ifelse(latent > 0, 1 / latent, NA))
}
