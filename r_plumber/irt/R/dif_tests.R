# The two comparisons of a focal group with the reference group, for all items at once.

#' Compare a focal group with the reference group
#'
#' @param answers what [answers_of_members()] returns.
#' @param pair of each student: 1 in the reference group, 2 in the focal group, `NA` in another.
#' @param min_per_group fewest answers to an item in both.
#' @param posterior N x Q matrix, each student's under the distribution of the own group.
#' @param items list of `a`, `d`, `c` of `answers$items`.
#' @param nodes abilities (length Q).
#' @param counted logical over items: whether the posterior has seen their answers.
#' @return `NULL`, or a list of columns, one row per item with enough answers: `item_id`, `n_reference`,
#'   `n_focal`, those of [mantel_haenszel()] and [logistic_regression()], and `flag`: whether there is DIF
#'   of practical size that is no chance, that is, class B or C with `mh_q` below `FALSE_FLAGS`, or
#'   `lr_effect` of at least `LARGE_DIF` with `lr_q` below it.
compare_groups <- function(answers, pair, min_per_group, posterior, items, nodes, counted) {
  side <- pair[answers$student]
  met <- lapply(1:2, function(one) tabulate(answers$item[which(side == one)], length(answers$items)))
  tested <- met[[1]] >= min_per_group & met[[2]] >= min_per_group
  if (!any(tested)) return(NULL)
  enough <- lapply(met, `[`, tested)
  rows <- which(!is.na(side) & tested[answers$item])
  items <- at_items(items, tested)
  answers <- list(
    students = answers$students, items = answers$items[tested],
    student = answers$student[rows], item = cumsum(tested)[answers$item[rows]],
    correct = answers$correct[rows]
  )
  focal <- side[rows] == 2L

  n <- lapply(list(reference = !focal, focal = focal), function(members) {
    Reduce(`+`, expected_counts(outcome_matrix(at_answers(answers, members)), posterior))
  })
  ratios <- c(score_ratios(items, nodes, c("d", "a")), stratum_weights(n))
  residuals <- generalised_residuals(answers, posterior, items, nodes, ratios, counted[tested])
  found <- c(
    list(item_id = answers$items, n_reference = enough[[1]], n_focal = enough[[2]]),
    mantel_haenszel(answers, focal, posterior, items, nodes, counted[tested], residuals, n),
    logistic_regression(answers, focal, nodes, residuals, n$focal)
  )
  large <- found$ets_class %in% c("B", "C") & found$mh_q < FALSE_FLAGS
  bent <- found$lr_effect >= LARGE_DIF & found$lr_q < FALSE_FLAGS
  c(found, list(flag = (large | bent) %in% TRUE))
}

# On the scale of logits, class B begins at 1 / 2.35.
LARGE_DIF <- 0.43

#' Mantel-Haenszel odds ratio over abilities
#'
#' The strata are the abilities of the quadrature; each answer stands in all of them with the weights of the
#' posterior. Such 2 x 2 tables hold more than was observed, so that the usual variance is too small. But
#' the sum of A D / N - B C / N (right and wrong A, B in the reference group, C, D in the focal group) is
#' one of generalised residuals, which has a variance. The posterior has seen the answer and draws it
#' towards the common curve; the log odds ratio is divided by the share of a difference that is left.
#'
#' @param answers to the items compared.
#' @param focal of each answer: whether it is the focal group's.
#' @param posterior,items,nodes,counted see [compare_groups()].
#' @param residuals what [generalised_residuals()] returns, with [stratum_weights()] among the regressors.
#' @param n list of `reference`, `focal`: expected number of answers at each node (J x Q).
#' @return list of columns: `mh_d_dif` = -2.35 ln(odds ratio), negative where the item is harder for the
#'   focal group, `mh_se` (both `NA` where a group has only right or only wrong answers), `mh_chi2` (one
#'   degree of freedom), `mh_p`, `mh_q` (Benjamini-Hochberg over the items) and `ets_class`: "C" where |D|
#'   is at least 1.5 and significantly above 1, else "B" where it is at least 1 and significantly not 0,
#'   else "A" (Zieky 1993; 5 %).
mantel_haenszel <- function(answers, focal, posterior, items, nodes, counted, residuals, n) {
  p <- lapply(log_probabilities(items, nodes), exp)
  tables <- lapply(list(reference = !focal, focal = focal), function(members) {
    counts_with_own_answer(at_answers(answers, members), posterior, p, counted, residuals$residual[members])
  })
  total <- pmax(n$reference + n$focal, .Machine$double.xmin)
  concordant <- rowSums(tables$reference$right * tables$focal$wrong / total)
  discordant <- rowSums(tables$reference$wrong * tables$focal$right / total)
  sums <- as.list(as.data.frame(rowsum(own_stratum_sums(residuals, focal), answers$item, reorder = TRUE)))
  left <- sums$information / (2 * rowSums(n$reference * n$focal / total * p$right * p$wrong))

  log_ratio <- log(concordant / discordant) / left
  d <- ifelse(is.finite(log_ratio), -2.35 * log_ratio, NA)
  se <- 2.35 * sqrt(sums$variance / (concordant * discordant)) / left
  chi2 <- sums$score^2 / sums$variance
  p_value <- pchisq(chi2, 1, lower.tail = FALSE)
  list(
    mh_d_dif = d, mh_se = ifelse(is.na(d), NA, se), mh_chi2 = chi2,
    mh_p = p_value, mh_q = p.adjust(p_value, "BH"), ets_class = ets_class(d, se, p_value)
  )
}

#' Expected counts under posteriors that have seen the answer in question
#'
#' @param answers,posterior,counted see [mantel_haenszel()].
#' @param p list of `right`, `wrong`: probabilities (J x Q).
#' @param residual of each answer.
#' @return list of `right`, `wrong` (J x Q).
counts_with_own_answer <- function(answers, posterior, p, counted, residual) {
  predicted <- ifelse(counted[answers$item], 1, 1 - abs(residual)) # probability of the answer that was given
  weighted <- Matrix::sparseMatrix(
    i = answers$student, j = answers$item + length(answers$items) * (1L - answers$correct), x = 1 / predicted,
    dims = c(length(answers$students), 2L * length(answers$items))
  )
  seen <- lapply(p, function(curve) replace(curve, counted[row(curve)], 1))
  Map(`*`, expected_counts(weighted, posterior), seen)
}

#' Weights of the strata in the Mantel-Haenszel sum, and those of a shift of the log odds
#'
#' To first order A D / N - B C / N is the residual of the reference group times the focal group's share of
#' the stratum, less that of the focal group times the reference group's.
#'
#' @param n see [mantel_haenszel()].
#' @return list of J x Q matrices `of_reference`, `of_focal` and `shift`, see [generalised_residuals()].
stratum_weights <- function(n) {
  share <- n$focal / pmax(n$reference + n$focal, .Machine$double.xmin)
  list(of_reference = share, of_focal = 1 - share, shift = 0 * share + 1)
}

# Of each answer: its part in the sum (A D - B C) / N, in its variance, and in its change with the log odds
# ratio.
own_stratum_sums <- function(residuals, focal) {
  regressors <- residuals$regressors
  weight <- ifelse(focal, -regressors[, "of_focal"], regressors[, "of_reference"])
  cbind(
    score = weight * residuals$residual, variance = weight^2 * residuals$variance,
    information = abs(weight) * regressors[, "shift"] * residuals$variance
  )
}

ets_class <- function(d, se, p_value) {
  notable <- abs(d) >= 1 & p_value < 0.05
  large <- abs(d) >= 1.5 & abs(d) - 1 > qnorm(0.95) * se
  c("A", "B", "C")[1L + notable + (notable & large)]
}

#' Logistic regression on ability and group
#'
#' The item's logit gets an intercept and a slope of its own in the focal group, and [score_tests()] says
#' whether it needs them; what both groups have in common is taken as fitted.
#'
#' @inheritParams mantel_haenszel
#' @param n expected number of the focal group's answers at each node (J x Q).
#' @return list of columns: `lr_uniform`, the difference of the logits (focal - reference) at the mean
#'   ability of the focal group's students who met the item; `lr_nonuniform`, that of the slopes (both one
#'   step of Fisher scoring from the common curve, which makes large ones smaller than they are); `lr_chi2`,
#'   `lr_df`, `lr_p`, `lr_q` (Benjamini-Hochberg over the items); `lr_effect`, the absolute difference of
#'   the logits, averaged over these students.
logistic_regression <- function(answers, focal, nodes, residuals, n) {
  common <- residuals$regressors[, c("d", "a")]
  own <- common * focal
  colnames(own) <- c("d_focal", "a_focal")
  residuals$regressors <- cbind(common, own)
  tests <- score_tests(residuals, answers$item, colnames(common), colnames(own))

  steps <- lapply(list(reference = !focal, focal = focal), function(members) {
    scoring_steps(lapply(residuals, at_rows, members), answers$item[members])
  })
  d <- steps$focal$d - steps$reference$d
  a <- steps$focal$a - steps$reference$a
  ability <- n / rowSums(n)
  list(
    lr_uniform = d + a * drop(ability %*% nodes), lr_nonuniform = a,
    lr_chi2 = tests$stat, lr_df = tests$df, lr_p = tests$p, lr_q = p.adjust(tests$p, "BH"),
    lr_effect = rowSums(ability * abs(d + outer(a, nodes)))
  )
}

at_answers <- function(answers, rows) {
  each <- c("student", "item", "correct")
  replace(answers, each, lapply(answers[each], `[`, rows))
}

at_rows <- function(values, rows) if (is.matrix(values)) values[rows, , drop = FALSE] else values[rows]
