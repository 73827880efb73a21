/*
description: A window with two ends, as the population
*/
SELECT user_id FROM events
WHERE event_time BETWEEN now() - INTERVAL '10 seconds' AND now() - INTERVAL '2 seconds'
GROUP BY user_id HAVING count(*) >= 2
