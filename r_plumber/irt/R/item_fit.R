# Item fit: how far the answers are from the item's curve, and whether that can be chance.

#' Fit of each item
#'
#' All are taken at the posterior of each student's ability (given all answers) and not at an estimate of
#' it, so that their expectation under the model does not depend on the number of answers or on who chose
#' the items:
#' * `infit`, `outfit`: mean squares, sum of E((x - P)^2) over sum of E(P Q), and mean of E((x - P)^2 / (P
#'   Q)); 1 is expected;
#' * `fit_stat`, `fit_df`, `fit_p`: [score_tests()] of the curve's form. Where the item's answers are, its
#'   logit may bend by the second and third Legendre polynomial of the rank of ability among the item's
#'   students (Neyman's smooth test). Where all slopes are equal they may have been fixed (Rasch), and the
#'   first is tested too; else location, slope and lower asymptote are taken as fitted, whether to these
#'   answers or to others;
#' * `rmsd`: root mean square over the latent distribution of the difference between the curve and the share
#'   of right answers that the posteriors place at each ability (as in PISA). Chance is in it: at 50 answers
#'   .05 or more;
#' * `flag`: `NA`, or what is wrong, at a Benjamini-Hochberg rate of `FALSE_FLAGS`. "low discrimination":
#'   the slope is significantly below `LOW_SLOPE`. Else, where the score test is significant and `rmsd` at
#'   least `LARGE_RMSD`: "underfit" or "overfit" for an infit outside `MEAN_SQUARES` (answers noisier, or
#'   more predictable, than the model says), otherwise "misfit".
#'
#' @param answers what [select_items()] returns.
#' @param items list of `a`, `d`, `c` of `answers$items`.
#' @param latent list of `mean`, `sd`.
#' @param nodes abilities (length Q).
#' @return list of `item_id`, `n_responses` and the columns above.
item_fit <- function(answers, items, latent, nodes) {
  outcomes <- outcome_matrix(answers)
  posterior <- posterior_distribution(outcomes, items, latent, nodes)$posterior
  counts <- expected_counts(outcomes, posterior)
  log_p <- log_probabilities(items, nodes)

  ratios <- score_ratios(items, nodes, c("d", "a", "g"))
  residuals <- generalised_residuals(answers, posterior, items, nodes, c(ratios, bends(ratios$d, counts)))
  fitted <- if (length(unique(items$a)) == 1L) c("d", "g") else c("d", "a", "g")
  tested <- setdiff(c("first", "second", "third"), if ("a" %in% fitted) "first")
  tests <- score_tests(residuals, answers$item, fitted, tested)

  fit <- c(
    list(item_id = answers$items, n_responses = tabulate(answers$item, length(answers$items))),
    mean_squares(counts, log_p),
    list(
      fit_stat = tests$stat, fit_df = tests$df, fit_p = tests$p,
      rmsd = root_mean_square_difference(counts, exp(log_p$right), latent, nodes)
    )
  )
  step <- scoring_steps(residuals, answers$item)
  c(fit, list(flag = item_flags(fit, slope = items$a + step$a, se = sqrt(step$aa))))
}

# Expected share of mistakes among the flags of a kind.
FALSE_FLAGS <- 0.05
# Slopes below .35 are "very low" in Baker (2001, The basics of item response theory).
LOW_SLOPE <- 0.35
LARGE_RMSD <- 0.04
# The posterior has seen the answer too, so mean squares stray less from 1 than those at known abilities.
MEAN_SQUARES <- c(0.95, 1.05)

#' Polynomials of rank, as bends of a logit
#'
#' Ranks are bounded, so that no student at the edge decides the test.
#'
#' @param ratio the score ratio of the intercept (J x Q).
#' @param counts expected counts.
#' @return list of J x Q matrices `first`, `second`, `third`.
bends <- function(ratio, counts) {
  share <- (counts$right + counts$wrong) / rowSums(counts$right + counts$wrong)
  rank <- 2 * share %*% (upper.tri(diag(ncol(share))) + diag(ncol(share)) / 2) - 1
  legendre <- list(first = rank, second = (3 * rank^2 - 1) / 2, third = (5 * rank^3 - 3 * rank) / 2)
  lapply(legendre, `*`, ratio)
}

#' Mean squares
#' @param counts expected counts.
#' @param log_p what [log_probabilities()] returns.
#' @return list of `infit`, `outfit`.
mean_squares <- function(counts, log_p) {
  n <- counts$right + counts$wrong
  odds <- exp(pmin(pmax(log_p$right - log_p$wrong, -700), 700)) # finite, as nobody is where it matters
  list(
    infit = rowSums(counts$right * exp(2 * log_p$wrong) + counts$wrong * exp(2 * log_p$right)) /
      rowSums(n * exp(log_p$right + log_p$wrong)),
    outfit = rowSums(counts$right / odds + counts$wrong * odds) / rowSums(n)
  )
}

#' Difference between the curves and the shares of right answers
#'
#' Where no posterior reaches there is no difference.
#'
#' @param counts expected counts.
#' @param p_right probabilities (J x Q).
#' @inheritParams item_fit
root_mean_square_difference <- function(counts, p_right, latent, nodes) {
  n <- counts$right + counts$wrong
  difference <- ifelse(n > 0, counts$right / n - p_right, 0)
  sqrt(drop(difference^2 %*% exp(latent_log_weights(nodes, latent))))
}

#' What is wrong with each item
#' @param fit list of the columns that [item_fit()] describes.
#' @param slope,se the slopes after a step from those given, and their standard errors. Where the slopes
#'   were fitted to these answers the step is nearly 0.
item_flags <- function(fit, slope, se) {
  low <- p.adjust(pnorm((slope - LOW_SLOPE) / se), "BH") < FALSE_FLAGS
  misfit <- which(p.adjust(fit$fit_p, "BH") < FALSE_FLAGS & fit$rmsd >= LARGE_RMSD)
  flag <- rep(NA_character_, length(low))
  flag[misfit] <- c("overfit", "misfit", "underfit")[findInterval(fit$infit[misfit], MEAN_SQUARES) + 1L]
  flag[which(low)] <- "low discrimination"
  flag
}
