# Profile intervals of lme4 for the reference cases: Rscript make.R <tests/reference> > lme4.json
# (R 4.2.2, lme4 1.1-31; delta.cutoff below its default of 1/8, so that lme4's interpolation is finer than the test.)
suppressMessages({library(lme4); library(jsonlite)})
root <- commandArgs(TRUE)[1]
quoted <- function(x) paste0("`", x, "`")
out <- list()
for (case in list.files(root)) {
  path <- file.path(root, case, "spec.json")
  if (!file.exists(path)) next
  spec <- fromJSON(path, simplifyVector = FALSE)
  plain <- file.path(root, case, "ref.json")
  ref <- if (file.exists(plain)) fromJSON(plain, simplifyVector = FALSE) else
    fromJSON(gzfile(paste0(plain, ".gz")), simplifyVector = FALSE)
  d <- read.csv(file.path(root, case, "data.csv"), check.names = FALSE, na.strings = "")
  groups <- unlist(spec$groups)
  needed <- unique(c(spec$outcome, unlist(spec$fixed), groups, unlist(spec$slopes)))
  d <- d[complete.cases(d[, needed]), ]
  for (v in unlist(spec$categorical)) d[[v]] <- factor(d[[v]], levels = unlist(spec$levels[[v]]))
  for (i in seq_along(groups)) {
    path_name <- paste(groups[1:i], collapse = "/")
    d[[path_name]] <- factor(do.call(paste, c(unname(as.list(d[groups[1:i]])), sep = "/")))
  }
  for (model in spec$models) {
    if (is.null(ref$models[[model$id]]$ML$profile_ci95)) next
    fixed <- if (identical(model$fixed, "all")) unlist(spec$fixed) else unlist(model$fixed)
    random <- sapply(model$random, function(part) {
      terms <- sapply(part$terms, function(t) if (t == "1") "1" else quoted(t))
      if (!("1" %in% terms)) terms <- c("0", terms)
      paste0("(", paste(terms, collapse = " + "), if (part$cov == "full") " | " else " || ",
             quoted(paste(unlist(part$level), collapse = "/")), ")")
    })
    formula <- as.formula(paste(quoted(spec$outcome), "~", paste(c("1", sapply(fixed, quoted), random), collapse = " + ")))
    fit <- suppressMessages(suppressWarnings(lmer(formula, d, REML = FALSE,
      control = lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10, maxfun = 1e5)))))
    messages <- character(0)
    start <- proc.time()[3]
    ci <- tryCatch(withCallingHandlers(
      confint(profile(fit, signames = FALSE, delta.cutoff = 1 / 16)),
      warning = function(w) { messages <<- c(messages, conditionMessage(w)); invokeRestart("muffleWarning") }),
      error = function(e) { messages <<- c(messages, conditionMessage(e)); NULL })
    rows <- if (is.null(ci)) NULL else setNames(lapply(seq_len(nrow(ci)), function(i) as.numeric(ci[i, ])), rownames(ci))
    out[[case]][[model$id]] <- list(deviance = as.numeric(deviance(fit)), intervals = rows,
      warnings = unique(messages), seconds = round(as.numeric(proc.time()[3] - start), 2))
    cat(case, model$id, round(proc.time()[3] - start, 1), length(rows), "\n", file = stderr())
  }
}
cat(toJSON(out, digits = 17, auto_unbox = TRUE, null = "null", na = "null", pretty = TRUE), "\n")
