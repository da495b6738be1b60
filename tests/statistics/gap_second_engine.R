# The other side of test_segmentation_gap.py: cluster's clusGap on the tables of a folder, with the
# partitions that it used. Argument: the folder.

folder <- commandArgs(trailingOnly = TRUE)
set.seed(1)
for (file in list.files(folder, pattern = "[.]csv$", full.names = TRUE)) {
  x <- as.matrix(read.csv(file))
  used <- list()
  partition <- function(rows, k) {
    found <- kmeans(rows, k, nstart = 10, iter.max = 50)
    if (identical(unname(rows), unname(x))) used[[as.character(k)]] <<- found$cluster
    found
  }
  gap <- cluster::clusGap(
    x, partition,
    K.max = 6, B = 200, d.power = 2, spaceH0 = "scaledPCA", verbose = FALSE
  )
  table <- as.data.frame(gap$Tab)
  k <- cluster::maxSE(table$gap, table$SE.sim, method = "Tibs2001SEmax")
  jsonlite::write_json(
    list(table = table, k = k, partitions = used), sub("csv$", "json", file),
    digits = NA, auto_unbox = TRUE, dataframe = "columns"
  )
}
