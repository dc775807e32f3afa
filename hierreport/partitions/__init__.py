"""Panels whose files are stretches of time: what was made of files that did not change is kept and used again.

Two things are kept in the hidden folder ``.kept`` of an analysis: of each file the columns that the model needs, typed
(``parts``), and the moments of all files up to one of the last two (``fold``). A run without anything kept takes the
same way, file by file, and so gives the same bits. Where the way is not open, all is read and reduced as for any other
panel, and ``Whole`` says why; whether it is open depends on data and configuration alone, not on what is kept.
"""
