# AR(1) errors with variances by stratum, fitted by nlme: Rscript make.R <config/data> > nlme.json  (R 4.2.2, nlme 3.1-162)
suppressMessages({library(nlme); library(jsonlite)})
folder <- commandArgs(TRUE)[1]
uk <- read.csv(file.path(folder, "uk_firms.csv"))
us <- read.csv(file.path(folder, "us_states.csv"))
uk$late <- ifelse(uk$year > 1979, "late", "early")
us$late <- ifelse(us$year > 1978, "late", "early")
us$part <- c("a", "b", "c")[us$year %% 3 + 1]
uk$group <- paste(uk$sector, uk$firm, sep = "/")
us$group <- paste(us$region, us$state, sep = "/")
# Gaps: every fifth row is left out. Continuous time: a quarter of a year later in every third row.
holes <- function(d) d[seq_len(nrow(d)) %% 5 != 0, ]
uneven <- function(d) { d$time <- d$year + 0.25 * (seq_len(nrow(d)) %% 3 == 0); d }
f_uk <- log(emp) ~ log(wage) + log(capital) + log(output)
f_us <- log(gsp) ~ log(private) + log(emp) + unemp
cases <- list(
  list(id = "uk_slope_sector", data = uk, formula = f_uk, random = list(group = ~ 1 + log(capital)), by = "sector"),
  list(id = "uk_slope_late", data = uk, formula = f_uk, random = list(group = ~ 1 + log(capital)), by = "late"),
  list(id = "uk_nested_sector", data = uk, formula = f_uk, random = list(sector = ~ 1, group = ~ 1), by = "sector"),
  list(id = "uk_holes_late", data = holes(uk), formula = f_uk, random = list(group = ~ 1), by = "late"),
  list(id = "uk_uneven_late", data = uneven(uk), formula = f_uk, random = list(group = ~ 1), by = "late", time = "time"),
  list(id = "uk_pooled_sector", data = uk, formula = f_uk, by = "sector"),
  list(id = "uk_pooled_late", data = uk, formula = f_uk, by = "late"),
  list(id = "us_region", data = us, formula = f_us, random = list(group = ~ 1), by = "region"),
  list(id = "us_part", data = us, formula = f_us, random = list(group = ~ 1), by = "part"),
  list(id = "us_nested_late", data = us, formula = f_us, random = list(region = ~ 1, group = ~ 1), by = "late"),
  list(id = "us_pooled_late", data = us, formula = f_us, by = "late"),
  list(id = "us_holes_region", data = holes(us), formula = f_us, random = list(group = ~ 1), by = "region"))
tight <- lmeControl(maxIter = 1000, msMaxIter = 2000, niterEM = 100, tolerance = 1e-12, msTol = 1e-14, opt = "nlminb")
tight_gls <- glsControl(maxIter = 1000, msMaxIter = 2000, tolerance = 1e-12, msTol = 1e-14, opt = "nlminb")
out <- list()
for (case in cases) {
  time <- if (is.null(case$time)) "year" else case$time
  inner <- paste(c(if ("sector" %in% names(case$random)) "sector", if ("region" %in% names(case$random)) "region", "group"),
                 collapse = "/")
  memory <- as.formula(paste("~", time, "|", inner))
  cor <- if (is.null(case$time)) corAR1(form = memory) else corCAR1(form = memory)
  var <- varIdent(form = as.formula(paste("~ 1 |", case$by)))
  d <- case$data[order(case$data$group, case$data[[time]]), ]
  for (method in c("ML", "REML")) {
    fit <- tryCatch(if (is.null(case$random))
      gls(case$formula, d, correlation = cor, weights = var, method = method, control = tight_gls) else
      lme(case$formula, d, random = case$random, correlation = cor, weights = var, method = method, control = tight),
      error = function(e) conditionMessage(e))
    if (is.character(fit)) { message(case$id, " ", method, ": ", fit); next }
    ratios <- coef(fit$modelStruct$varStruct, unconstrained = FALSE, allCoef = TRUE)
    covariances <- if (is.null(case$random)) NULL else
      lapply(rev(as.matrix(fit$modelStruct$reStruct)), function(m) unname(m) * fit$sigma^2)
    fixed <- if (is.null(case$random)) coef(fit) else fixef(fit)
    out[[case$id]][[method]] <- list(
      logLik = as.numeric(logLik(fit)), fixef = as.list(fixed), sigma = fit$sigma, ratios = as.list(ratios),
      rho = unname(coef(fit$modelStruct$corStruct, unconstrained = FALSE)), covariances = covariances)
  }
}
cat(toJSON(out, digits = 17, auto_unbox = TRUE, null = "null", pretty = TRUE))
