# lme4 in the race. Reads CSV with data.table::fread, R's fastest reader here (Debian has no reader of Parquet for R).
suppressPackageStartupMessages({library(lme4); library(data.table)})
task <- jsonlite::fromJSON(commandArgs(TRUE)[1], simplifyVector = TRUE)
answer <- function(x) cat(jsonlite::toJSON(x, auto_unbox = TRUE, digits = NA), "\n")
seconds <- function(expression) { t <- proc.time(); force(expression); d <- proc.time() - t; list(wall = d[[3]], cpu = d[[1]] + d[[2]]) }

if (task$mode == "versions") {
  answer(list(R = paste(R.version$major, R.version$minor, sep = "."), lme4 = as.character(packageVersion("lme4")),
    performance = as.character(packageVersion("performance")), rmarkdown = as.character(packageVersion("rmarkdown")),
    blas = extSoftVersion()[["BLAS"]]))
} else {
  panel <- fread(task$panel, select = task$columns, stringsAsFactors = TRUE)
  model <- function(formula, rows = panel, reml = FALSE) suppressMessages(suppressWarnings(
    lmer(as.formula(formula), rows, REML = reml)))
  if (isTRUE(task$warm)) model("ret ~ market + (1 | firm)", head(panel, 2000))
  logliks <- list(); runs <- list()
  if (task$mode == "fit") {
    for (i in seq_len(task$repeats)) runs[[i]] <- list(all = seconds(
      for (name in names(task$rungs)) logliks[[name]] <- as.numeric(logLik(model(task$rungs[[name]])))))
    answer(list(runs = runs, logliks = logliks))
  } else { # bootMer: refits of the last rung by REML, as lme4 starts them: from the original optimum
    fitted <- model(task$rungs[[length(task$rungs)]], reml = TRUE)
    time <- seconds(suppressMessages(suppressWarnings(bootMer(fitted, fixef, nsim = task$refits, seed = 1))))
    answer(c(time, list(refits = task$refits)))
  }
}
