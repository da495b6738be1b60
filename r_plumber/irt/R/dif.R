# Differential item functioning: is an item harder, or differently steep, for students of a group who are as
# able?

#' Differential item functioning of each item between groups
#'
#' Groups may differ in ability: each has its own normal distribution (estimated, items held fixed), and a
#' student's posterior is taken under that of the own group. Under one common distribution the abler group's
#' posteriors are drawn down and the other's up, which looks like DIF of every item. Items found with DIF
#' are then taken out of the matching, and all is done again until the same are found.
#'
#' @param responses data frame with `student_id` and `item_id` (character) and `correct` (logical or 0/1;
#'   `NA` is dropped).
#' @param items data frame with `item_id` (character), `a`, `b` and, where there is guessing, `c` (D = 1):
#'   parameters that hold for all groups together, up to the common error that a calibration has.
#' @param groups data frame of `student_id`, `group`. A student without a group is left out.
#' @param reference name of the group that the others (focal groups) are compared with.
#' @param min_per_group fewest answers to an item in both groups; with fewer the pair of item and group has
#'   no row.
#' @param repeated whether to "refuse" a second answer of a student to an item, or to "keep" it.
#' @return list of columns: `items`, one row per item and `focal` group, see [compare_groups()], and
#'   `groups` (`group`, `n_students`, `mean`, `sd`), sorted in the C locale.
#' @section Errors: `unprocessable` when a parameter is impossible, an item or a student's group is given
#'   twice, an answer is repeated, or there are no two groups with answers to known items, the reference
#'   among them.
dif <- function(responses, items, groups, reference, min_per_group = 50L, repeated = "refuse") {
  require_one_of(repeated, REPEATED, "repeated")
  require_value(is_number(min_per_group) && min_per_group >= 1, "min_per_group", "must be at least 1")
  check_items(items)
  check_groups(groups)
  items <- with_guessing(items)
  answers <- answers_of_members(index_responses(responses, repeated), items, groups)
  group <- groups$group[match(answers$students, groups$student_id)]
  check_comparable(group, groups, reference)

  names <- sort(unique(group), method = "radix")
  group <- match(group, names)
  reference <- match(reference, names)
  focal <- setdiff(seq_along(names), reference)
  nodes <- quadrature_nodes(list(n = 61L, min = -6, max = 6))
  known <- match(answers$items, items$item_id)
  parameters <- list(a = items$a[known], d = -items$a[known] * items$b[known], c = items$c[known])
  counted <- rep(TRUE, length(answers$items))
  for (round in seq_len(most_rounds)) {
    latent <- group_latents(answers, items[known, ][counted, ], counted, groups, names, nodes)
    seen <- outcome_matrix(answers)[, c(counted, counted), drop = FALSE]
    posterior <- posterior_distribution(seen, at_items(parameters, counted), latent, nodes, group)$posterior
    compared <- lapply(stats::setNames(focal, names[focal]), function(other) {
      pair <- match(group, c(reference, other))
      compare_groups(answers, pair, min_per_group, posterior, parameters, nodes, counted)
    })
    compared <- as.list(data.table::rbindlist(compared, idcol = "focal"))
    require_value(
      length(compared) > 0L, "min_per_group",
      sprintf("leaves nothing to compare: no item has %g answers in two groups", min_per_group)
    )
    clean <- !answers$items %in% compared$item_id[compared$flag]
    if (identical(clean, counted) || !can_match(clean, answers, group)) break
    counted <- clean
  }
  sorted <- order(compared$item_id, compared$focal, method = "radix")
  list(
    items = lapply(compared, `[`, sorted),
    groups = c(list(group = names, n_students = tabulate(group, length(names))), latent)
  )
}

# The set of items with DIF may alternate between two.
most_rounds <- 5L

# "As able" has a meaning as long as half the items are without DIF and every group has met one of them.
can_match <- function(clean, answers, group) {
  mean(clean) >= 0.5 && all(group %in% group[answers$student[clean[answers$item]]])
}

#' Answers to known items by students who have a group
#' @param answered what [index_responses()] returns.
#' @inheritParams dif
answers_of_members <- function(answered, items, groups) {
  rows <- answered$students[answered$student] %in% groups$student_id &
    answered$items[answered$item] %in% items$item_id
  require_value(
    any(rows), "groups.student_id", "must name students of the responses: none has an answer to a known item"
  )
  present <- sort(unique(answered$student[rows]))
  met <- sort(unique(answered$item[rows]))
  list(
    students = answered$students[present], items = answered$items[met],
    student = match(answered$student[rows], present), item = match(answered$item[rows], met),
    correct = answered$correct[rows]
  )
}

#' Refuse groups that leave nothing to compare
#' @param group each student's group.
#' @inheritParams dif
check_comparable <- function(group, groups, reference) {
  require_value(
    reference %in% groups$group, "reference",
    sprintf("must be one of the groups, but none is called %s", reference)
  )
  require_value(reference %in% group, "reference", "must be a group with answers to known items")
  require_value(
    length(unique(group)) > 1L, "groups.group", "must name two groups or more with answers to known items"
  )
}

#' Mean and sd of ability in each group, items held fixed
#'
#' @param answers what [answers_of_members()] returns.
#' @param anchors data frame of the items that count (`item_id`, `a`, `b`, `c`).
#' @param counted logical over `answers$items`.
#' @inheritParams dif
#' @param names the groups, sorted.
#' @param nodes abilities (length Q).
#' @return list of `mean`, `sd`.
group_latents <- function(answers, anchors, counted, groups, names, nodes) {
  rows <- counted[answers$item]
  responses <- data.frame(
    student_id = answers$students[answers$student[rows]], item_id = answers$items[answers$item[rows]],
    correct = answers$correct[rows]
  )
  members <- groups[groups$student_id %in% answers$students, ]
  sample <- gather_sample(responses, 1L, "keep", anchors$item_id, members, NULL)
  known <- known_parameters(sample, "2PL", anchors)
  stopping <- list(tolerance = 1e-5, max_iterations = 500L, max_seconds = Inf)
  fit <- maximise_marginal_posterior(sample, known, nodes, NULL, stopping, progress = function(state) NULL)
  latent_at(fit$estimates, known)
}

#' Read the fields of POST /irt/dif
#'
#' @param fields Named list, see `read_body()`: `responses`, `items`, `groups`, `reference` and optionally
#'   `min_per_group`.
#' @param limits The service's limits.
#' @return Named list of arguments for `dif()`.
read_dif <- function(fields, limits) {
  check_fields(fields, c("responses", "items", "groups", "reference"), c("min_per_group", "repeated"))
  c(
    list(
      responses = read_table(fields$responses, "responses", RESPONSE_COLUMNS, limits$max_rows),
      items = read_items(fields$items, "items", limits),
      groups = read_table(fields$groups, "groups", c(student_id = "id", group = "id"), limits$max_rows)
    ),
    read_scalars(fields, c(reference = "text", min_per_group = "whole", repeated = "text"))
  )
}
