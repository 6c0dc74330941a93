-- Migration: 006_order_report
-- Description: The totals must agree with the lines

SELECT o.total_cents = coalesce(sum(l.quantity * l.price_cents), 0)
  FROM shop.orders AS o
  LEFT JOIN shop.order_lines AS l ON l.order_id = o.id
 GROUP BY o.id;
