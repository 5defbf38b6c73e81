"""Where Twisted's plug-in system finds the example's native job."""

from native_job_example import CountWords

count_words = CountWords()
